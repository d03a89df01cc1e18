"""API keys: list, create, revoke. For admins."""

from typing import Literal

from pydantic import Field

from ralf_hub.endpoint import Answer, Body, Call, Endpoint
from ralf_hub.errors import NotFoundError
from ralf_hub.handlers.shared import Moment, Name
from ralf_hub.intake.ledger import Ledger
from ralf_hub.keyring import new_key
from ralf_hub.model import Json
from ralf_hub.store import keys
from ralf_hub.store.keys import ApiKey

Scope = Literal[
    "tasks:read",
    "tasks:write",
    "queue:read",
    "features:read",
    "metrics:read",
    "events:read",
    "events:write",
    "deliveries:read",
    "deliveries:write",
    "connectors:read",
    "connectors:write",
    "admin",
    "*",
]


class KeyCreate(Body):
    """A key to create."""

    name: Name = Field(description="Whose key it is.")
    scopes: list[Scope] = Field(min_length=1, description="What it may do.")
    expires_at: Moment | None = Field(default=None, description="When it ends; never, where left out.")


def key_json(key: ApiKey) -> dict[str, Json]:
    """Return *key* as the API shows it: never its hash."""
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "scopes": list(key.scopes),
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


async def reload_keys(call: Call) -> None:
    """Take the stored keys anew, so that a change counts at once."""
    call.hub.keyring.load_stored(await call.hub.db.read(keys.everyone))


async def list_keys(call: Call) -> Answer:
    """Answer with every stored key, revoked ones too."""
    found = await call.hub.db.read(keys.everyone)
    return Answer.json({"keys": [key_json(key) for key in found], "total": len(found), "next_cursor": None})


async def create_key(call: Call) -> Answer:
    """Create a key; it is shown in this answer and never again."""
    body: KeyCreate = call.body
    key, stored = new_key(call.hub.clock, body.name, body.scopes, expires_at=body.expires_at)

    def insert(ledger: Ledger) -> ApiKey:
        keys.insert(ledger.conn, stored)
        return stored

    # Its own answer is not kept under an Idempotency-Key: that would store the key in clear.
    call.kept = True
    await call.hub.intake.accept(insert)
    await reload_keys(call)
    return Answer.json({**key_json(stored), "key": key}, 201, {"Location": f"/api/v1/keys/{stored.id}"})


async def revoke_key(call: Call) -> Answer:
    """End a key at once."""
    key_id = call.params["id"]

    def revoke(ledger: Ledger) -> ApiKey:
        keys.revoke(ledger.conn, key_id, now=ledger.now)
        found = keys.get(ledger.conn, key_id)
        if found is None:
            raise NotFoundError(f"There is no key {key_id[:100]}.")
        return found

    answer = await call.accept(revoke, lambda key: Answer.json(key_json(key)))
    await reload_keys(call)
    return answer


_KEYS = "/api/v1/keys"

ENDPOINTS = (
    Endpoint("GET", _KEYS, "listKeys", "List keys", list_keys, "admin", "keys", answer="KeyList"),
    Endpoint(
        "POST",
        _KEYS,
        "createKey",
        "Create a key",
        create_key,
        "admin",
        "keys",
        body=KeyCreate,
        answer="KeyCreated",
        status=201,
        errors=("validation_failed",),
    ),
    Endpoint(
        "DELETE",
        _KEYS + "/{id}",
        "revokeKey",
        "Revoke a key",
        revoke_key,
        "admin",
        "keys",
        answer="Key",
        errors=("not_found",),
    ),
)
