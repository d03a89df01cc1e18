"""Whatever a settings file says, the answer is settings or `SettingsError`, and no value is ever repeated."""

import traceback
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ralf_hub.config import Loaded, Source, instances, load_tree
from ralf_hub.config.convert import convert
from ralf_hub.config.models import Settings
from ralf_hub.config.shapes import submodel
from ralf_hub.connectors.base import ConnectorEnv
from ralf_hub.connectors.registry import BUILT_IN, connector_class
from ralf_hub.errors import SettingsError

CANARY = "canary-51c9ae"
ENV = {
    "ONE": f"{CANARY}-env",
    "URL": f"https://example.org/{CANARY}",
    "SLACK": f"https://hooks.slack.com/services/a/b/{CANARY}",
}
SOURCE = Source(Path("/settings/ralf-hub.toml"), Path("/settings"))

secrets = st.sampled_from(
    [
        CANARY,
        f" {CANARY}\n",
        f"https://example.org/{CANARY}",
        f"https://{CANARY}@example.org",
        f"http://[{CANARY}",
        f"file:/{CANARY}",
        f"file:~{CANARY}",
        f"whsec_{CANARY}",
        f"{{{{ {CANARY}",
        f"!{CANARY}",
        "${ONE}",
        "${URL}",
        "${SLACK}",
        "x${ONE}y",
        "${MISSING}",
        "${MISSING:-}",
        f"${{MISSING:-{CANARY}}}",
        f"${{{CANARY}",
    ]
)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        [
            "*",
            "task_*",
            "slack",
            "webhook",
            "console",
            "github",
            "trello",
            "jira",
            "true",
            "8080",
            "",
            "~",
            "\0",
        ]
    ),
)
values = st.recursive(
    st.one_of(plain, secrets),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "key", "type", "b c"]), inner, max_size=3),
    ),
    max_leaves=8,
)


def tables(model: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return tables with keys of *model* and values of every kind, the fitting shape more often than not."""
    keys = {}
    for name, info in model.model_fields.items():
        inner = submodel(info.annotation)
        listed = "tuple" in str(info.annotation)
        if inner is None:
            keys[name] = st.one_of(values, st.lists(values, max_size=2)) if listed else values
        else:
            keys[name] = (
                st.one_of(st.lists(tables(inner), max_size=3), values)
                if listed
                else st.one_of(tables(inner), values)
            )
    return st.fixed_dictionaries({}, optional={**keys, "unknwon": values})


sections = st.one_of(
    values,
    *(tables(connector_class(name).settings_model) for name in BUILT_IN),
)
names = st.sampled_from([*BUILT_IN, "jira", "slak", "a b", "second"])
trees = st.tuples(
    st.fixed_dictionaries(
        {},
        optional={
            name: tables(model)
            for name, info in Settings.model_fields.items()
            if name != "connectors" and (model := submodel(info.annotation))
        },
    ),
    st.one_of(st.dictionaries(names, sections, max_size=3), values),
).map(lambda pair: pair[0] | {"connectors": pair[1]})


GOOD: dict[str, Any] = {
    "api": {
        "port": 8080,
        "host": "::1",
        "api_keys": [f"{CANARY}-key-0123456789", {"name": "ci", "key": "${ONE}"}],
    },
    "connectors": {
        "slack": {
            "webhook_url": "${SLACK}",
            "events": ["task_*", "!task_progress"],
            "template": "{{ event.type }}",
        },
        "hook": {
            "type": "webhook",
            "url": f"https://x.org/{CANARY}",
            "secret": [f"{CANARY}-1"],
            "headers": {"A": CANARY},
        },
        "console": {"filter": {"priority": ["high"]}},
        "jira": {"enabled": False, "email": "${MISSING}"},
    },
    "webhooks": {
        "incoming": [
            {"service": "github", "secret": CANARY},
            {
                "service": "gitlab",
                "token": CANARY,
                "signing_key": f"whsec_{CANARY}",
                "path": "/api/v1/webhooks/x",
            },
        ],
        "outgoing": [
            {"event": "*", "url": "${SLACK}"},
            {"events": ["*"], "url": "${URL}", "secret": CANARY, "name": "n"},
        ],
    },
    "workspace": {
        "path": "ralf",
        "timezone": "UTC",
        "write_back": "off",
        "event_types": {"done": "task_completed"},
    },
    "delivery": {"backoff_first_s": 1, "backoff_max_s": 2.5},
    "security": {"allowed_networks": ["127.0.0.0/8"]},
}


def ways(tree: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to every value of *tree*."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [way, *(below for key, item in items for below in ways(item, (*way, key)))]


def replaced(tree: Any, way: tuple[Any, ...], value: Any) -> Any:
    """Return *tree* with *value* at the end of *way*, if the way is still there."""
    if not way:
        return value
    key, *rest = way
    if isinstance(tree, dict) and key in tree:
        return tree | {key: replaced(tree[key], tuple(rest), value)}
    if isinstance(tree, list) and isinstance(key, int) and key < len(tree):
        return [*tree[:key], replaced(tree[key], tuple(rest), value), *tree[key + 1 :]]
    return tree


@st.composite
def nearly_good(draw: st.DrawFn) -> dict[str, Any]:
    """Return good settings with a few values replaced by any other."""
    tree: Any = GOOD
    for way in draw(st.lists(st.sampled_from(ways(GOOD)[1:]), max_size=3)):
        tree = replaced(tree, way, draw(values))
    return dict(tree)


def outcome(tree: dict[str, Any]) -> Loaded | SettingsError:
    try:
        return load_tree(SOURCE, tree, ENV)
    except SettingsError as error:
        return error


def test_the_good_settings_are_good() -> None:
    result = outcome(GOOD)
    assert isinstance(result, Loaded), result
    assert len(instances(result.settings, ConnectorEnv())) == 5


@settings(max_examples=500, deadline=None)
@given(st.one_of(trees, nearly_good()))
def test_any_tree_is_settings_or_every_problem_and_shows_no_value(tree: dict[str, Any]) -> None:
    result = outcome(tree)
    if isinstance(result, SettingsError):
        assert any(problem.fatal for problem in result.problems)
        assert all(problem.message and problem.key for problem in result.problems)
        assert result.__context__ is None
        said = "".join(traceback.format_exception(result)) + repr(result.problems)
    else:
        built = instances(result.settings, ConnectorEnv())
        said = repr(result.warnings) + repr(built)
        assert len(result.fingerprint) == 12
    assert CANARY not in said


@settings(max_examples=100, deadline=None)
@given(st.one_of(trees, nearly_good()))
def test_what_loads_loads_again_the_same(tree: dict[str, Any]) -> None:
    first, second = outcome(tree), outcome(tree)
    if isinstance(first, Loaded):
        assert isinstance(second, Loaded)
        assert (first.settings, first.fingerprint, first.warnings) == (
            second.settings,
            second.fingerprint,
            second.warnings,
        )
    else:
        assert str(first) == str(second)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_converts_or_is_refused(text: str) -> None:
    try:
        convert("server:\n  x: 1\n" + text, "old.yaml")
    except SettingsError as error:
        assert error.problems  # noqa: PT017 - either way is fine, another exception is not
