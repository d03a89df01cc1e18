"""API keys: list, create, revoke. For admins."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from ralf_hub.endpoint import Answer, Body, Call, Endpoint
from ralf_hub.errors import FieldError, NotFoundError, ValidationError
from ralf_hub.handlers.shared import Moment, Name, PageQuery, slice_answer
from ralf_hub.intake.ledger import Ledger
from ralf_hub.keyring import new_key
from ralf_hub.model import ALL_SCOPES, SCOPES, Json
from ralf_hub.store import keys
from ralf_hub.store.keys import ApiKey


def _scope(text: str) -> str:
    if text not in {*SCOPES, ALL_SCOPES}:
        raise ValueError("There is no such scope.")
    return text


Scope = Annotated[str, AfterValidator(_scope), Field(json_schema_extra={"enum": [*SCOPES, ALL_SCOPES]})]
SCOPES_MAX: Final = 50


class KeyCreate(Body):
    """A key to create."""

    name: Name = Field(description="Whose key it is.")
    scopes: list[Scope] = Field(min_length=1, max_length=SCOPES_MAX, description="What it may do.")
    expires_at: Moment | None = Field(default=None, description="When it ends; never, where left out.")
    kind: Literal["api", "oauth"] = Field(
        default="api", description="`oauth`: a client's secret, which opens `/oauth/token` and nothing else."
    )


def key_json(key: ApiKey) -> dict[str, Json]:
    """Return *key* as the API shows it: never its hash."""
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "kind": key.kind,
        "scopes": list(key.scopes),
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


async def list_keys(call: Call) -> Answer:
    """Answer with the stored keys, oldest first, revoked ones too."""
    found = sorted(await call.hub.db.read(keys.everyone), key=lambda key: key.id)
    return slice_answer("keys", found, lambda key: key.id, key_json, call.query)


async def get_key(call: Call) -> Answer:
    """Answer with one stored key."""
    key_id = call.params["id"]
    found = await call.hub.db.read(lambda conn: keys.get(conn, key_id))
    if found is None:
        raise NotFoundError(f"There is no key {key_id[:100]}.")
    return Answer.json(key_json(found))


async def create_key(call: Call) -> Answer:
    """Create a key; it is shown in this answer and never again, not even where an Idempotency-Key comes twice."""
    body: KeyCreate = call.body
    if body.expires_at is not None and body.expires_at <= call.hub.clock.iso():
        raise ValidationError(errors=[FieldError("expires_at", "This must be in the future.")])
    scopes = list(dict.fromkeys(body.scopes))
    key, stored = new_key(call.hub.clock, body.name, scopes, expires_at=body.expires_at, kind=body.kind)

    def insert(ledger: Ledger) -> None:
        keys.insert(ledger.conn, stored)

    def answer(shown: str | None) -> Answer:
        headers = {"Location": f"/api/v1/keys/{stored.id}"}
        return Answer.json({**key_json(stored), "key": shown}, 201, headers)

    # Under an Idempotency-Key the answer is kept without the key: nothing in the database may open the door.
    reply = await call.accept(insert, lambda _: answer(key), kept_as=lambda _: answer(None))
    await call.hub.reload_keys()
    return reply


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
    await call.hub.reload_keys()
    return answer


_KEYS = "/api/v1/keys"

ENDPOINTS = (
    Endpoint(
        "GET",
        _KEYS,
        "listKeys",
        "List keys",
        list_keys,
        "admin",
        "keys",
        query=PageQuery,
        answer="KeyList",
    ),
    Endpoint(
        "GET",
        _KEYS + "/{id}",
        "getKey",
        "Read a key",
        get_key,
        "admin",
        "keys",
        answer="Key",
        errors=("not_found",),
    ),
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
