import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from ralf_hub.config.toml_text import to_toml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), texts)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=30,
)


@settings(deadline=None)
@given(st.dictionaries(texts, trees, max_size=5))
def test_what_is_written_is_read_again(tree: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(tree)) == tree
    assert tomllib.loads(to_toml(tree, lambda loc: f"about\n{len(loc)}")) == tree


def test_layout() -> None:
    tree = {
        "api": {"host": "x", "nothing": None, "cors": {"origins": ["a", "b"], "enabled": True}},
        "webhooks": {"incoming": [{"service": "github", "filter": {"a": 1}}, {"service": "slack"}]},
        "list": [{"a": 1, "b": None}, 2],
    }
    comments = {("api",): "The API.", ("api", "host"): "Where.", ("webhooks", "incoming"): "In."}
    assert to_toml(tree, lambda loc: comments.get(loc, "")) == (
        'list = [{ a = 1 }, 2]\n\n# The API.\n[api]\n# Where.\nhost = "x"\n\n[api.cors]\norigins = ["a", "b"]\nenabled = true\n\n'
        '# In.\n[[webhooks.incoming]]\nservice = "github"\n\n[webhooks.incoming.filter]\na = 1\n\n'
        '[[webhooks.incoming]]\nservice = "slack"\n'
    )


def test_long_lists_get_a_line_for_each_item() -> None:
    assert to_toml({"a": ["x" * 60, "y" * 60]}) == f'a = [\n  "{"x" * 60}",\n  "{"y" * 60}",\n]\n'
