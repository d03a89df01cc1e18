"""Access tokens of OAuth clients in SQL."""

import sqlite3
from dataclasses import dataclass, field
from typing import Final

from ralf_hub.store.rows import dump, load

TOKENS_MAX: Final = 1_000
"""Valid tokens of one client; a client that asks for more ends its oldest."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it is stored: only its hash. `client_id` is the id of a key of kind `oauth`."""

    token_sha256: str = field(repr=False)
    client_id: str
    client_name: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str


def insert(conn: sqlite3.Connection, token: AccessToken) -> None:
    """Add *token*; remove what has ended, and the client's oldest beyond `TOKENS_MAX`."""
    conn.execute("DELETE FROM access_tokens WHERE expires_at <= ?", (token.created_at,))
    conn.execute(
        "DELETE FROM access_tokens WHERE token_sha256 IN (SELECT token_sha256 FROM access_tokens "
        "WHERE client_id = ? ORDER BY created_at DESC LIMIT -1 OFFSET ?)",
        (token.client_id, TOKENS_MAX - 1),
    )
    conn.execute(
        "INSERT INTO access_tokens (token_sha256, client_id, scopes, created_at, expires_at) VALUES (?,?,?,?,?)",
        (token.token_sha256, token.client_id, dump(list(token.scopes)), token.created_at, token.expires_at),
    )


def find(conn: sqlite3.Connection, token_sha256: str, *, now: str) -> AccessToken | None:
    """Return the token with this hash, or None where there is none, it has ended, or its client has."""
    row = conn.execute(
        "SELECT t.token_sha256, t.client_id, k.name, t.scopes, t.created_at, t.expires_at "
        "FROM access_tokens t JOIN api_keys k ON k.id = t.client_id "
        "WHERE t.token_sha256 = ?1 AND t.expires_at > ?2 AND k.revoked_at IS NULL "
        "AND (k.expires_at IS NULL OR k.expires_at > ?2)",
        (token_sha256, now),
    ).fetchone()
    return None if row is None else AccessToken(row[0], row[1], row[2], tuple(load(row[3])), row[4], row[5])
