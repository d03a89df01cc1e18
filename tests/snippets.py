"""The fenced blocks of the Markdown pages, so that tests can run them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[1]
PAGES: Final = [
    CHECKOUT / "README.md",
    CHECKOUT / "CHANGELOG.md",
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    *sorted((CHECKOUT / "examples").glob("*.md")),
]

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"<!-- ([^\n]+) -->\n$")
_NOT_RUN: Final = re.compile(r"not run[^\n:]*: (.+)")


@dataclass(frozen=True)
class Snippet:
    """One fenced block. `comment` is the HTML comment right before it, which says what is special about it.

    - `not run: WHY`: it cannot be run by a test.
    - `starts the hub`: it is left running, and the page goes on when the hub answers.
    - `refused`: its calls are answered with an error, which the block after it shows.
    - `prints`: what the shell block before it prints; `...` stands for anything.
    """

    page: str
    line: int
    language: str
    text: str
    comment: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def excuse(self) -> str | None:
        """Why it is not run."""
        found = _NOT_RUN.fullmatch(self.comment or "")
        return found[1] if found else None


def snippets_in(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(CHECKOUT).as_posix() if page.is_relative_to(CHECKOUT) else page.name
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        comment = _COMMENT.search(before)
        found.append(
            Snippet(
                page=name,
                line=before.count("\n") + 1,
                language=fence[1],
                text=fence[2],
                comment=comment[1] if comment else None,
            )
        )
    return found


SNIPPETS: Final = [snippet for page in PAGES for snippet in snippets_in(page)]


def of(language: str, page: str | None = None) -> list[Snippet]:
    """Return the blocks in *language* that are to be run."""
    return [s for s in SNIPPETS if s.language == language and s.excuse is None and page in (None, s.page)]
