import pytest

from ralf_hub.config.expand import NO_VARIABLE, expand

ENV = {"A": "alpha", "B": "beta", "EMPTY": "", "NUMBER": "9000"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "alpha"),
        ("x ${A}-${B} y", "x alpha-beta y"),
        ("${MISSING:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${A:-default}", "alpha"),
        ("${MISSING:-a:-b/c d}", "a:-b/c d"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("a$b {c} $A", "a$b {c} $A"),
        ("pre${MISSING:-}", "pre"),
    ],
)
def test_texts(text: str, value: str) -> None:
    found = expand({"key": text}, ENV)
    assert found.tree == {"key": value}
    assert not found.unset
    assert not found.malformed


def test_an_unset_or_empty_variable_leaves_the_value_out() -> None:
    tree = {
        "a": "${MISSING}",
        "b": {"c": "x${EMPTY}${MISSING}y"},
        "d": ["${MISSING}", "1", "${EMPTY}", "${A}"],
    }
    found = expand(tree, ENV)
    assert found.tree == {"b": {}, "d": ["1", "alpha"]}
    assert found.unset == {
        ("a",): ("MISSING",),
        ("b", "c"): ("EMPTY", "MISSING"),
        ("d", 0): ("MISSING",),
        ("d", 2): ("EMPTY",),
    }
    assert found.positions == {("d",): [1, 3]}


def test_an_empty_default_leaves_the_value_out_without_a_word() -> None:
    found = expand({"a": "${MISSING:-}"}, ENV)
    assert found.tree == {}
    assert found.unset == {}


@pytest.mark.parametrize(
    "text", ["${", "${}", "${A", "${1A}", "${A B}", "${A-x}", "${A:?x}", "${A:-${B}}", "x${é}"]
)
def test_a_dollar_brace_must_begin_a_variable(text: str) -> None:
    found = expand({"list": ["ok", text]}, ENV)
    assert found.tree == {"list": ["ok"]}
    assert found.malformed == {("list", 1): NO_VARIABLE}


def test_a_variable_that_is_no_text() -> None:
    found = expand({"a": "${RAW}"}, {"RAW": b"\xff".decode("utf-8", "surrogateescape")})
    assert found.malformed == {("a",): "names RAW, which is not UTF-8 text"}


def test_a_text_cannot_grow_without_end() -> None:
    found = expand({"a": "${LONG}" * 1_000}, {"LONG": "x" * 100_000})
    assert found.malformed == {("a",): "becomes longer than 65,536 characters"}


def test_keys_and_other_values_stay() -> None:
    tree = {"${A}": 1, "b": [True, None, 2.5]}
    assert expand(tree, ENV).tree == tree


def test_values_that_came_from_outside_are_known_and_not_shown() -> None:
    found = expand({"a": "x${A}", "b": "${MISSING:-plain}"}, ENV)
    assert found.revealed == {"alpha"}
    assert found.replaced == {("a",), ("b",)}
    assert "alpha" not in repr(found)
