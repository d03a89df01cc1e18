import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ralf_hub.config.markup import MarkupError, parse_toml
from ralf_hub.config.yaml_tree import parse_yaml


def flaws(parse: object, text: str) -> list[tuple[int, int, str]]:
    assert callable(parse)
    with pytest.raises(MarkupError) as caught:
        parse(text)
    assert caught.value.__context__ is None, "the parser's own error, which quotes the file, must not hang on"
    return [(flaw.line, flaw.column, flaw.message) for flaw in caught.value.flaws]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("[api]\nport = \n", 2, 8),
        ("[api]\nport = 1\nport = 2\n", 3, 9),
        ("[api]\n[api]\n", 2, 5),
        ("a = [1,\n", 2, 0),
    ],
)
def test_toml_errors_have_a_place(text: str, line: int, column: int) -> None:
    ((found_line, found_column, message),) = flaws(parse_toml, text)
    assert (found_line, found_column) == (line, column)
    assert message.startswith("is not valid TOML: ")


@pytest.mark.parametrize("text", ["a = " + "[" * 5_000 + "]" * 5_000, ".".join("a" * 5_000) + " = 1"])
def test_deep_toml(text: str) -> None:
    assert flaws(parse_toml, text) == [(0, 0, "is nested more than 32 levels deep")]


def test_toml_numbers_without_end() -> None:
    ((_, _, message),) = flaws(parse_toml, "a = 1" + "0" * 5_000)
    assert message == "holds a value that is out of range"


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("api:\n  port: 1\n  port: 2\n", 3, 3, "stands here twice"),
        ("api: {a: b: c}\n", 1, 11, "is not valid YAML"),
        ("api:\n\tport: 1\n", 2, 1, "is not valid YAML"),
        ("events: [*]\n", 1, 11, "begins with * in quotes"),
        ("events: *all\n", 1, 9, "begins with * in quotes"),
        ("events:\n  - !agent_x\n", 2, 5, "begins with ! in quotes"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, 4, "tag"),
        ("a: !!binary aGk=\n", 1, 4, "tag"),
        ("on: 1\n", 1, 1, "not text; write it in quotes"),
        ("? [a]\n: 1\n", 1, 3, "not text; write it in quotes"),
        ("a: 1\n---\nb: 2\n", 2, 1, "another document"),
        ("a: 1" + "0" * 5_000 + "\n", 1, 4, "cannot be read"),
        ("<<: [1]\n", 1, 6, "is no table"),
        ('a: "\\ud800"\n', 1, 4, "lone surrogate"),
    ],
)
def test_yaml_errors_have_a_place(text: str, line: int, column: int, words: str) -> None:
    ((found_line, found_column, message),) = flaws(parse_yaml, text)
    assert words in message
    assert (found_line, found_column) == (line, column)


def test_every_repeated_yaml_key_is_told() -> None:
    assert [line for line, _, _ in flaws(parse_yaml, "a: 1\na: 2\nb: {c: 1, c: 2}\n")] == [2, 3]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 50_000, "{a: " * 50_000, "x: &a [*a]\n"])
def test_deep_yaml(text: str) -> None:
    ((_, _, message),) = flaws(parse_yaml, text)
    assert message == "is nested more than 32 levels deep"


def test_yaml_aliases_are_followed_only_so_far() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    ((_, _, message),) = flaws(parse_yaml, "\n".join(lines))
    assert message == "holds more than 20,000 values once its aliases are followed"


def test_control_characters_in_yaml() -> None:
    ((_, _, message),) = flaws(parse_yaml, "a: \x00\n")
    assert message == "is not valid YAML: it holds characters that YAML does not allow"


def test_yaml_values() -> None:
    text = """
        base: &base {rate: 5, kind: x}
        one: {<<: *base, rate: 6}
        two: {<<: [{a: 1}, {a: 2, b: 3}]}
        date: 2026-02-01
        nothing: ~
        flag: yes
        number: 1.5
        equals: =
    """
    assert parse_yaml(text) == {
        "base": {"rate": 5, "kind": "x"},
        "one": {"rate": 6, "kind": "x"},
        "two": {"a": 1, "b": 3},
        "date": "2026-02-01",
        "nothing": None,
        "flag": True,
        "number": 1.5,
        "equals": "=",
    }


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_yaml, "password: *canary-3f9a\n"),
        (parse_yaml, "password: !canary-3f9a x\n"),
        (parse_yaml, "password: &canary-3f9a 1\nb: &canary-3f9a 2\n"),
        (parse_yaml, "password: 'canary-3f9a\n"),
        (parse_yaml, "password: canary-3f9a: b: c\n"),
        (parse_yaml, "password: @canary-3f9a\n"),
        (parse_yaml, "password: %canary-3f9a\n"),
        (parse_yaml, "password: |canary-3f9a\n"),
        (parse_yaml, 'password: "\\canary-3f9a"\n'),
        (parse_toml, "password = canary-3f9a\n"),
        (parse_toml, "password = 'canary-3f9a\n"),
        (parse_toml, 'password = "canary-3f9a\\q"\n'),
        (parse_toml, "password = {canary-3f9a = 1, canary-3f9a = 2}\n"),
    ],
)
def test_no_flaw_quotes_the_file(parse: object, text: str) -> None:
    assert "canary" not in str(flaws(parse, text))


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_tree_or_a_flaw(text: str) -> None:
    for parse in (parse_toml, parse_yaml):
        try:
            parse(text)
        except MarkupError as error:
            assert error.flaws  # noqa: PT017 - either way is fine, another exception is not


@settings(deadline=None)
@given(st.text("abc:-[]{}&*!|>'\"#%@`,\n\t =.0129~<"))
def test_any_text_of_signs_is_a_tree_or_a_flaw(text: str) -> None:
    test_any_text_is_a_tree_or_a_flaw.hypothesis.inner_test(text)  # type: ignore[attr-defined]


def test_toml_is_what_the_standard_library_reads() -> None:
    text = '[a]\nb = [1, 2.5, "x", true]\n[[c]]\nd = {e = 1}\n'
    assert parse_toml(text) == tomllib.loads(text)
