"""Small helpers every table family uses: JSON in columns, pages by cursor."""

import base64
import binascii
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson

from ralf_hub.errors import HubError
from ralf_hub.model import Json

T = TypeVar("T")

PAGE_MAX: Final = 200
CURSOR_LENGTH_MAX: Final = 1024
INTEGER_MAX: Final = 2**63 - 1
"""The largest number SQLite takes."""


def dump(value: Json) -> str:
    """Return *value* as JSON text for a column."""
    return orjson.dumps(value).decode()


def load(text: str | None) -> Json:
    """Return the JSON of a column, None for NULL."""
    return None if text is None else orjson.loads(text)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list: `total` counts all that match, `next_cursor` is None on the last page."""

    items: Sequence[T]
    total: int
    next_cursor: str | None = None


def encode_cursor(*position: str | int) -> str:
    """Return an opaque cursor for *position*, the sort key of the last item shown."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def decode_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """Return the position in *cursor*. HubError `invalid_cursor` when it is none of this list's."""
    try:
        raw = base64.b64decode(
            cursor[:CURSOR_LENGTH_MAX] + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        )
        position = orjson.loads(raw)
    except (ValueError, binascii.Error) as error:
        raise HubError("This cursor was not given out by this list.", code="invalid_cursor") from error
    if not isinstance(position, list) or [type(part) for part in position] != list(types):
        raise HubError("This cursor was not given out by this list.", code="invalid_cursor")
    if any(isinstance(part, int) and not 0 <= part <= INTEGER_MAX for part in position):
        raise HubError("This cursor was not given out by this list.", code="invalid_cursor")
    return tuple(position)


def position_in(noun: str, cursor: str, *types: type) -> tuple[Any, ...]:
    """Return where in the list of *noun* the cursor stands. HubError `invalid_cursor`, also for one of another list."""
    name, *position = decode_cursor(cursor, str, *types)
    if name != noun:
        raise HubError("This cursor was given out by another list.", code="invalid_cursor")
    return tuple(position)


@dataclass(slots=True)
class Where:
    """Collects conditions and their bound values."""

    conditions: list[str]
    values: list[Any]

    @classmethod
    def of(cls, **equals: Any) -> "Where":
        """Start with `column = value` for each value that is not None."""
        given = {column: value for column, value in equals.items() if value is not None}
        return cls([f"{column} = ?" for column in given], list(given.values()))

    def add(self, condition: str, *values: Any) -> None:
        """Require *condition* as well."""
        self.conditions.append(condition)
        self.values.extend(values)

    @property
    def sql(self) -> str:
        """The WHERE clause, empty without conditions."""
        return " WHERE " + " AND ".join(self.conditions) if self.conditions else ""


def page_of(
    noun: str,
    rows: Sequence[tuple[Any, ...]],
    limit: int,
    total: int,
    make: Callable[[tuple[Any, ...]], T],
    position: Callable[[T], Sequence[str | int]],
) -> Page[T]:
    """Return a page of *noun* from up to *limit* + 1 *rows*; the one too many says that there is a next page."""
    items = [make(row) for row in rows[:limit]]
    more = len(rows) > limit and items
    return Page(items, total, encode_cursor(noun, *position(items[-1])) if more else None)


def slice_of(
    noun: str, items: Sequence[T], key: Callable[[T], str], *, limit: int, cursor: str | None
) -> Page[T]:
    """Return a page of *items*, which are in the order of *key*: for short lists that are in memory anyway."""
    after = None if cursor is None else position_in(noun, cursor, str)[0]
    rest = [item for item in items if after is None or key(item) > after]
    more = len(rest) > limit
    return Page(rest[:limit], len(items), encode_cursor(noun, key(rest[limit - 1])) if more else None)


@contextlib.contextmanager
def savepoint(conn: sqlite3.Connection) -> Iterator[None]:
    """Undo what is done inside, and only that, when it fails."""
    conn.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        if conn.in_transaction:  # else SQLite has undone everything already (disk full)
            conn.execute("ROLLBACK TO part")
            conn.execute("RELEASE part")
        raise
    conn.execute("RELEASE part")


def scalar(conn: sqlite3.Connection, sql: str, values: Sequence[Any] = ()) -> Any:
    """Return the first column of the first row, or None."""
    row = conn.execute(sql, values).fetchone()
    return None if row is None else row[0]


def like(text: str) -> str:
    r"""Return *text* as a LIKE pattern that finds it anywhere (`ESCAPE '\'`)."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
