"""API keys and idempotent answers in SQL."""

import sqlite3
from dataclasses import dataclass
from typing import Any, Final, Literal

from ralf_hub.store.rows import dump, load

_COLUMNS: Final = "id, name, hint, scopes, kind, created_at, last_used_at, expires_at, revoked_at, key_sha256"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: only its hash, and a hint by which a person knows it."""

    id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    kind: Literal["api", "oauth"]
    """`oauth`: the secret of an OAuth client."""
    created_at: str
    last_used_at: str | None
    expires_at: str | None
    revoked_at: str | None
    key_sha256: str

    def __repr__(self) -> str:
        return f"ApiKey({self.id!r}, {self.name!r})"


def _make(row: Any) -> ApiKey:
    return ApiKey(row[0], row[1], row[2], tuple(load(row[3])), *row[4:])


def insert(conn: sqlite3.Connection, key: ApiKey) -> None:
    """Add *key*."""
    conn.execute(
        f"INSERT INTO api_keys ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (
            key.id,
            key.name,
            key.hint,
            dump(list(key.scopes)),
            key.kind,
            key.created_at,
            key.last_used_at,
            key.expires_at,
            key.revoked_at,
            key.key_sha256,
        ),
    )


def everyone(conn: sqlite3.Connection) -> list[ApiKey]:
    """Return all keys, revoked ones too, oldest first."""
    return [_make(row) for row in conn.execute(f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at, id")]


def get(conn: sqlite3.Connection, key_id: str) -> ApiKey | None:
    """Return one key by id, or None."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM api_keys WHERE id = ?", (key_id,)).fetchone()
    return None if row is None else _make(row)


def opens(conn: sqlite3.Connection, key_sha256: str, *, now: str) -> bool:
    """Return whether a key of this hash opens the door now."""
    row = conn.execute(
        "SELECT 1 FROM api_keys WHERE key_sha256 = ? AND kind = 'api' AND revoked_at IS NULL "
        "AND (expires_at IS NULL OR expires_at > ?)",
        (key_sha256, now),
    ).fetchone()
    return row is not None


def revoke(conn: sqlite3.Connection, key_id: str, *, now: str) -> bool:
    """End a key; False when there is none that is still valid."""
    changed = conn.execute(
        "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id)
    )
    return changed.rowcount == 1


def expire(conn: sqlite3.Connection, key_id: str, *, at: str) -> None:
    """Let a key end at a moment, unless it ends sooner anyway."""
    conn.execute(
        "UPDATE api_keys SET expires_at = min(coalesce(expires_at, ?1), ?1) WHERE id = ?2", (at, key_id)
    )


def touch(conn: sqlite3.Connection, used: dict[str, str]) -> None:
    """Note when keys were last used: id -> time."""
    conn.executemany(
        "UPDATE api_keys SET last_used_at = ? WHERE id = ?", [(at, key_id) for key_id, at in used.items()]
    )


# --- idempotent answers ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer a request with this Idempotency-Key got."""

    request_hash: str
    status: int
    headers: dict[str, str]
    body: bytes


def find_answer(conn: sqlite3.Connection, principal: str, key: str, *, since: str) -> StoredAnswer | None:
    """Return the answer stored under *key* of *principal* since then, or None."""
    row = conn.execute(
        "SELECT request_hash, status, headers, body FROM idempotency_keys "
        "WHERE principal = ? AND key = ? AND created_at >= ?",
        (principal, key, since),
    ).fetchone()
    return None if row is None else StoredAnswer(row[0], row[1], load(row[2]), row[3])


def keep_answer(
    conn: sqlite3.Connection, principal: str, key: str, answer: StoredAnswer, *, now: str
) -> None:
    """Store *answer*; one that has expired under the same key gives way."""
    conn.execute(
        "INSERT OR REPLACE INTO idempotency_keys VALUES (?,?,?,?,?,?,?)",
        (principal, key, answer.request_hash, answer.status, dump(answer.headers), answer.body, now),
    )
