"""The queries of docs/sql.md, run on a database with a morning's work in it; what the page shows is what they print."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from tests.docs import harbour
from tests.docs.page import insist
from tests.snippets import SNIPPETS, Snippet, of
from tests.support import connect, copy_of

PAGE: Final = "docs/sql.md"
QUERIES_MIN: Final = 20


@pytest.fixture(scope="module")
def morning(empty_hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = copy_of(empty_hub, tmp_path_factory.mktemp("morning"))
    harbour.lived_in(path)
    return path


@pytest.fixture
def conn(morning: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(copy_of(morning, tmp_path))) as opened:
        yield opened


def statements(snippet: Snippet) -> list[str]:
    at_noon = snippet.text.replace("'now'", f"'{harbour.NOON}'")
    return [each.strip() for each in at_noon.split(";\n") if each.strip()]


def table(names: Sequence[str], found: Sequence[Sequence[Any]]) -> str:
    """Return rows as `sqlite3 -column` shows them: names, lines, values."""
    cells = [["" if value is None else str(value) for value in row] for row in found]
    widths = [max(len(row[i]) for row in [names, *cells]) for i in range(len(names))]
    lines = [names, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def test_there_are_enough() -> None:
    assert sum(len(statements(snippet)) for snippet in of("sql", PAGE)) >= QUERIES_MIN


@pytest.mark.parametrize("snippet", of("sql"), ids=str)
def test_a_query_finds_what_the_page_shows_and_a_change_changes_something(
    snippet: Snippet, conn: sqlite3.Connection
) -> None:
    printed = ""
    for statement in statements(snippet):
        done = conn.execute(statement)
        if done.description is None:
            assert done.rowcount > 0, statement
            continue
        found = done.fetchall()
        assert found, f"{snippet} finds nothing"
        printed = table([name for name, *_ in done.description], found)
    after = SNIPPETS[SNIPPETS.index(snippet) + 1 :][:1]
    for shown in after:
        if shown.comment == "prints" and shown.page == snippet.page:
            insist(shown, printed)


def test_what_is_found_is_shown() -> None:
    queries = [s for s in of("sql", PAGE) if s.text.lstrip().startswith(("SELECT", "WITH"))]
    shown = [s for s in SNIPPETS if s.page == PAGE and s.comment == "prints"]
    assert len(shown) == len(queries)


def test_the_change_that_replays_makes_a_dead_letter_due(conn: sqlite3.Connection) -> None:
    (replay,) = [s for s in of("sql", PAGE) if "state = 'dead' AND connector = 'slack'" in s.text]
    (dead,) = conn.execute("SELECT id FROM outbox WHERE state = 'dead'").fetchone()
    conn.execute(replay.text)
    due = conn.execute("SELECT count(*) FROM v_outbox_due WHERE id = ? AND attempts = 0", (dead,))
    assert due.fetchone() == (1,)
    kept = conn.execute("SELECT count(*) FROM attempts WHERE delivery_id = ?", (dead,))
    assert kept.fetchone() == (1,), "what was tried stays on record"
