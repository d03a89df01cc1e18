import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.errors import HubError
from ralf_hub.store.rows import (
    INTEGER_MAX,
    Where,
    decode_cursor,
    dump,
    encode_cursor,
    like,
    load,
    page_of,
    savepoint,
    scalar,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(json_values)
def test_json_survives_a_column(value: object) -> None:
    assert load(dump(value)) == value


def test_null_is_none() -> None:
    assert load(None) is None


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=128), st.integers(0, INTEGER_MAX))
def test_a_cursor_comes_back_as_it_was_given_out(text: str, number: int) -> None:
    assert decode_cursor(encode_cursor(text, number), str, int) == (text, number)
    assert encode_cursor(text, number).isascii()


FOREIGN = [
    "",
    "x",
    "!!!!",
    "ümlaut",
    "\ud800",
    encode_cursor(),
    encode_cursor(1),
    encode_cursor("a"),
    encode_cursor("a", "b"),
    encode_cursor(1, "a"),
    encode_cursor("a", 1, 2),
    encode_cursor("a", True),
    encode_cursor("a", -1),
    encode_cursor("a", 2**63),
    encode_cursor("a", 2**64 - 1),
    "eyJhIjogMX0",  # {"a": 1}
    "bnVsbA",  # null
    "W251bGwsMV0",  # [null,1]
    "WyJhIiwxLjVd",  # ["a",1.5]
    "W1siYSJdLDFd",  # [["a"],1]
    "A" * 100_000,
    "W" * 5000 + "]",
]


@pytest.mark.parametrize("cursor", FOREIGN, ids=range(len(FOREIGN)))
def test_what_is_no_cursor_of_this_list_is_refused(cursor: str) -> None:
    with pytest.raises(HubError) as caught:
        decode_cursor(cursor, str, int)
    assert (caught.value.code, caught.value.status) == ("invalid_cursor", 400)


def read_or_refuse(cursor: str) -> str:
    try:
        return str(decode_cursor(cursor, str)[0])
    except HubError as error:
        return error.code


@given(st.text(max_size=60))
def test_no_text_at_all_breaks_the_reading_of_cursors(text: str) -> None:
    read_or_refuse(text)  # nothing but HubError may come of it


def test_conditions_are_joined_and_none_is_left_out() -> None:
    where = Where.of(state="dead", connector=None, task_id="T-1")
    where.add("id < ?", 7)
    assert where.sql == " WHERE state = ? AND task_id = ? AND id < ?"
    assert where.values == ["dead", "T-1", 7]
    assert Where.of().sql == ""


@pytest.mark.parametrize(
    ("rows", "shown", "more"), [(0, 0, False), (2, 2, False), (3, 3, False), (4, 3, True)]
)
def test_one_row_too_many_says_that_there_is_a_next_page(rows: int, shown: int, more: bool) -> None:  # noqa: FBT001
    page = page_of(
        "numbers", [(n,) for n in range(rows)], 3, rows, lambda row: int(row[0]), lambda item: (item,)
    )
    assert list(page.items) == list(range(shown))
    assert page.next_cursor == (encode_cursor("numbers", 2) if more else None)
    assert page.total == rows


@pytest.mark.parametrize("text", ["50%", "a_b", "back\\slash", "%", "_", "\\", "'; DROP TABLE x; --"])
def test_wildcards_are_only_text(text: str) -> None:
    conn = sqlite3.connect(":memory:")
    find = r"SELECT ? LIKE ? ESCAPE '\'"
    assert scalar(conn, find, (f"before {text} after", like(text))) == 1
    assert scalar(conn, find, ("before something else after", like(text))) == 0
    conn.close()


def fail_inside(conn: sqlite3.Connection, *statements: str) -> None:
    with savepoint(conn):
        for statement in statements:
            conn.execute(statement)
        raise ValueError("the reason")


def test_a_savepoint_undoes_its_own_part_only() -> None:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("CREATE TABLE t (a)")
    conn.execute("BEGIN")
    conn.execute("INSERT INTO t VALUES (1)")
    with savepoint(conn):
        conn.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(ValueError, match="the reason"):
            fail_inside(conn, "INSERT INTO t VALUES (3)", "DELETE FROM t WHERE a = 1")
    with pytest.raises(ValueError, match="the reason"):
        fail_inside(conn, "INSERT INTO t VALUES (4)")
    conn.execute("COMMIT")
    assert conn.execute("SELECT a FROM t").fetchall() == [(1,), (2,)]
    conn.close()


def test_a_savepoint_whose_transaction_is_gone_shows_why() -> None:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("BEGIN")
    with pytest.raises(ValueError, match="the reason"):
        fail_inside(conn, "ROLLBACK")
    conn.close()
