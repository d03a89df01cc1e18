"""`docs/settings.md`, made from the settings models: `python -m ralf_hub.config.reference > docs/settings.md`."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ralf_hub.config.models import Settings
from ralf_hub.config.shapes import submodel
from ralf_hub.config.types import Network
from ralf_hub.connectors.base import ConnectorSettings, EventFilter
from ralf_hub.connectors.registry import BUILT_IN, connector_class
from ralf_hub.model import EVENT_TYPES, SCOPES

_HEAD: Final = """\
# Settings

<!-- Made from the models in ralf_hub/config: python -m ralf_hub.config.reference > docs/settings.md -->

## Where they are

The first of these that exists: `--config FILE`, the file named by `$RALF_HUB_CONFIG`, `./ralf-hub.toml`,
`~/.blackbox5/ralf-hub.toml`, `~/.blackbox5/api-config.yaml`. With none of them the hub runs by the default
inside the program and keeps its files below `~/.blackbox5/`. A file ending in `.yaml` or `.yml` is YAML, any
other TOML; the keys are the same. `ralf-hub check` tells everything that is wrong with a file at once.

- `${NAME}` in any text is that environment variable, `${NAME:-default}` has a default, `$${` is `${` itself.
  A value whose variable is unset or empty counts as left out. That is an error only where the value is needed:
  a section with `enabled = false` may name what it likes.
- A secret can be read from a file: `file:/run/secrets/slack`. One line end at its end does not count.
- Relative paths, also after `file:`, start at the settings file's folder. `~` is the home folder.
- Unknown keys, and in YAML equal keys, are errors.
- `enabled = false` leaves a connector or webhook out; nothing but its type is kept.

A saved file takes effect without a restart, and so does SIGHUP. A file with an error changes nothing.

## Events

`events` takes types and patterns: `task_completed`, `task_*`, `*`, and `!agent_*` for all but those. A list of
nothing but `!` patterns asks for everything else. The hub's own types:
EVENT_TYPES. RALF's other types keep their names.
"""

_CONNECTORS_HEAD: Final = """\
## `[connectors.NAME]`

One section for each service that is told of events. `type` says which it is where the name does not, so that
`[connectors.slack-alerts]` with `type = "slack"` is a second Slack. Every connector has these keys:
"""


def reference() -> str:
    """Return the settings reference as Markdown."""
    parts = [_HEAD.replace("EVENT_TYPES", ", ".join(f"`{name}`" for name in EVENT_TYPES))]
    for name, info in Settings.model_fields.items():
        if name == "connectors":
            parts.append(_connectors())
            continue
        model = submodel(info.annotation)
        if model is not None:
            parts.extend(_section(f"[{name}]", model))
    return "\n".join(parts).replace("\n\n\n", "\n\n")


def _section(title: str, model: type[BaseModel], level: int = 2) -> Iterator[str]:
    """Yield the section *title*, then the tables inside it."""
    yield f"{'#' * level} `{title}`\n\n{_about(model)}\n"
    plain, inner = _split(model)
    if plain:
        yield _table(plain)
    for name, info in inner.items():
        nested = submodel(info.annotation)
        if nested is not None:
            bare = title.strip("[]")
            listed = "tuple" in str(info.annotation)
            yield from _section(f"[[{bare}.{name}]]" if listed else f"[{bare}.{name}]", nested, level + 1)


def _about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _split(model: type[BaseModel]) -> tuple[dict[str, FieldInfo], dict[str, FieldInfo]]:
    plain = {name: info for name, info in model.model_fields.items() if submodel(info.annotation) is None}
    inner = {name: info for name, info in model.model_fields.items() if name not in plain}
    return plain, inner


def _connectors() -> str:
    shared = ConnectorSettings.model_fields
    parts = [_CONNECTORS_HEAD, _table({name: info for name, info in shared.items() if name != "filter"})]
    parts.extend(_section("[connectors.NAME.filter]", EventFilter, 3))
    for name in sorted(BUILT_IN):
        connector = connector_class(name)
        own = {key: info for key, info in connector.settings_model.model_fields.items() if key not in shared}
        defaults = ", ".join(f"`{pattern}`" for pattern in connector.default_events)
        parts.append(
            f'### `type = "{name}"`\n\n{_about(connector.settings_model)} Default events: {defaults}.\n'
        )
        parts.append(_table(own) if own else "It has no keys of its own.\n")
    return "\n".join(parts)


def _table(fields: Mapping[str, FieldInfo]) -> str:
    rows = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for name, info in fields.items():
        meaning = (info.description or "").replace("|", "\\|")
        rows.append(f"| `{info.alias or name}` | {_takes(name, info)} | {_default(info)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _takes(name: str, info: FieldInfo) -> str:
    if name == "scopes":
        return "list of " + ", ".join(f"`{scope}`" for scope in (*SCOPES, "*"))
    words = _kind(info.annotation)
    limits = {type(limit).__name__: limit for limit in info.metadata}
    low = getattr(limits.get("Ge"), "ge", getattr(limits.get("Gt"), "gt", None))
    high = getattr(limits.get("Le"), "le", None)
    if low is not None and high is not None:
        return f"{words}, {low:,} to {high:,}"
    return words


_KINDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret",
    Any: "anything",
}


def _kind(annotation: Any) -> str:
    if annotation in _KINDS:
        return _KINDS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if annotation == Network or set(arguments) == set(get_args(Network)):
        return "address range"
    if isinstance(origin, type) and issubclass(origin, (tuple, list, Mapping)):
        return (
            f"table of {_kind(arguments[1])}"
            if issubclass(origin, Mapping)
            else f"list of {_kind(arguments[0])}"
        )
    kinds = dict.fromkeys(_kind(argument) for argument in arguments if argument is not type(None))
    return " or ".join(kinds) or "text"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "needed"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), "", {}, []):
        return ""
    if isinstance(value, Path):
        value = str(value)
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
