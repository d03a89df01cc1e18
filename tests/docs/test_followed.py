"""Nothing on a page is only looked at: what can be run is run, what cannot says why, and that is little."""

import re
from typing import Final

import pytest

from tests.docs.page import RUN, holds, insist, shown_in
from tests.docs.test_connector_pages import GUIDES
from tests.snippets import CHECKOUT, PAGES, SNIPPETS, Snippet

FOLLOWED: Final = {
    "README.md": "tests/journeys/test_make_run.py",
    "docs/connectors.md": "tests/test_docs.py",
    "docs/connectors/webhook.md": "tests/docs/test_connector_pages.py",
    "docs/oauth.md": "tests/docs/test_guides.py",
    "docs/security.md": "tests/docs/test_guides.py",
    "docs/operations.md": "tests/docs/test_guides.py",
    "docs/guides/getting-started.md": "tests/docs/test_guides.py",
    "docs/guides/api.md": "tests/docs/test_guides.py",
    "docs/guides/webhooks-in.md": "tests/docs/test_guides.py",
    **{f"docs/connectors/{name}.md": "tests/docs/test_connector_pages.py" for name in GUIDES},
}
"""The pages whose programs are run, and by which test."""

NOT_RUN_MAX: Final = 11


def test_what_can_be_run_is_on_a_page_that_is_followed() -> None:
    for snippet in SNIPPETS:
        if snippet.language in RUN and snippet.page not in FOLLOWED:
            assert snippet.excuse, f"{snippet}: let a test follow this page, or say why not"


def test_what_is_not_run_says_why_and_is_little() -> None:
    excused = [snippet for snippet in SNIPPETS if snippet.excuse]
    for snippet in excused:
        assert len(str(snippet.excuse)) > 20, f"{snippet}: why?"
    listed = "\n".join(f"{snippet}: {snippet.excuse}" for snippet in excused)
    print(f"{len(excused)} of {len(SNIPPETS)} blocks are not run:\n{listed}")
    assert len(excused) <= NOT_RUN_MAX, listed


def test_every_comment_before_a_block_means_something() -> None:
    known = {"starts the hub", "refused", "prints"}
    for snippet in SNIPPETS:
        if snippet.comment and not snippet.excuse:
            assert snippet.comment in known, f"{snippet}: {snippet.comment}"


def test_what_is_shown_follows_what_prints_it() -> None:
    shown = [pair for page in FOLLOWED for pair in shown_in(page)]
    assert len(shown) > 20


def test_no_block_is_hidden_from_the_tests_by_its_indentation() -> None:
    for path in PAGES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not line.lstrip().startswith("```") or line.startswith("```"), f"{path.name}:{number}"


# --- how it is compared ------------------------------------------------------------------------------


def shown(language: str, text: str) -> Snippet:
    return Snippet("x.md", 1, language, text, "prints")


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": "..."}, {"a": 17}),
        ({"a": "key_..."}, {"a": "key_1"}),
        ([{"a": 1}], [{"a": 1, "b": 2}]),
    ],
)
def test_a_part_of_the_answer_may_be_shown(part: object, whole: object) -> None:
    assert holds(part, whole)


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": "..."}, {"a": None}),
        ({"a": "key_..."}, {"a": "id_1"}),
        ([1], [1, 2]),
        ({"a": {}}, {"a": []}),
        ("1", 1),
    ],
)
def test_what_is_shown_must_be_in_the_answer(part: object, whole: object) -> None:
    assert not holds(part, whole)


def test_text_is_compared_whole() -> None:
    insist(shown("text", "a ... c\n"), "a b\nb c")
    with pytest.raises(AssertionError, match=r"x\.md:1"):
        insist(shown("text", "a ... c\n"), "a b c d")


# --- what pages say the tests hold -------------------------------------------------------------------


def test_every_test_that_a_page_names_exists() -> None:
    files = {path.relative_to(CHECKOUT).as_posix(): path for path in (CHECKOUT / "tests").rglob("*.py")}
    functions = {
        name
        for path in files.values()
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    seen = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for file, short in re.findall(r"`(?:pytest )?(tests/[\w/]+\.py)\b|`(test_\w+\.py)`", text):
            assert file in files or any(name.endswith(f"/{short}") for name in files if short), (
                f"{page.name}: {file}{short}"
            )
            seen += 1
        for name in re.findall(r"`(?:tests/[\w/]+\.py::)?(test_\w+)`", text):
            assert name in functions, f"{page.name}: {name}"
            seen += 1
    assert seen > 20
