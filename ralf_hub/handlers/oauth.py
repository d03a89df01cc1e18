"""`POST /oauth/token`: a client's id and secret for an access token of an hour (RFC 6749, client credentials)."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NoReturn
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, Field

from ralf_hub.admission import count_failure, take_allowance
from ralf_hub.clock import MS_PER_S, parse_iso
from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.errors import HubError, NotFoundError
from ralf_hub.keyring import Principal, is_client, new_access_token
from ralf_hub.model import ALL_SCOPES, SCOPES
from ralf_hub.store import access_tokens, keys
from ralf_hub.store.keys import ApiKey

READ_WITHIN_S: Final = 30.0
FIELDS_MAX: Final = 20
GRANT: Final = "client_credentials"
FORM: Final = "application/x-www-form-urlencoded"
_HEADERS: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenForm(BaseModel):
    """What a client sends, as a form. Other fields are not looked at, as RFC 6749 asks."""

    grant_type: Literal["client_credentials"] = Field(description="How the client proves who it is.")
    client_id: str | None = Field(default=None, description="The client's id, where not sent by HTTP Basic.")
    client_secret: str | None = Field(
        default=None, description="Its secret, likewise.", json_schema_extra={"format": "password"}
    )
    scope: str | None = Field(
        default=None, description="Scopes wanted, with spaces between; all of the client's, where left out."
    )


class TokenError(Exception):
    """A request refused in the words of RFC 6749, 5.2. The description is ASCII without quotes."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description

    def answer(self) -> Answer:
        """Return the refusal as the RFC has it: JSON, not a problem document."""
        document = {"error": self.error, "error_description": self.description}
        if self.error == "invalid_client":
            return Answer.json(document, 401, {**_HEADERS, hdrs.WWW_AUTHENTICATE: 'Basic realm="ralf-hub"'})
        return Answer.json(document, 400, _HEADERS)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client says it is."""

    client_id: str
    secret: str = field(repr=False)


# --- reading, without I/O -------------------------------------------------------------------------


def read_form(raw: bytes, content_type: str) -> dict[str, str]:
    """Return the fields of the form *raw*; empty ones count as left out. TokenError `invalid_request`."""
    if content_type != FORM:
        _malformed(f"Send the fields as {FORM}.")
    try:
        pairs = parse_qsl(raw.decode(), errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        _malformed("The form cannot be read.")
    if len({name for name, _ in pairs}) < len(pairs):
        _malformed("A field is given twice.")
    return dict(pairs)


def read_credentials(authorization: str | None, form: Mapping[str, str]) -> Credentials:
    """Return who the client says it is, by HTTP Basic or in the form, not both. TokenError."""
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        if "client_id" not in form or "client_secret" not in form:
            raise TokenError(
                "invalid_client", "Send client_id and client_secret, by HTTP Basic or in the form."
            )
        return Credentials(form["client_id"], form["client_secret"])
    if "client_secret" in form:
        _malformed("Send the client's secret by HTTP Basic or in the form, not both.")
    try:
        name, colon, secret = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        _malformed("The header Authorization cannot be read.")
    if not colon or form.get("client_id", unquote_plus(name)) != unquote_plus(name):
        _malformed("The header Authorization does not fit.")
    return Credentials(unquote_plus(name), unquote_plus(secret))


def granted_scopes(client: ApiKey, wanted: str | None) -> tuple[str, ...]:
    """Return the scopes a token gets: those wanted, or all of the client's. TokenError `invalid_scope`."""
    if wanted is None:
        return client.scopes
    scopes = tuple(dict.fromkeys(wanted.split()))
    owner = Principal(client.id, client.name, frozenset(client.scopes))
    if not scopes or not all(scope in {*SCOPES, ALL_SCOPES} and _may_grant(owner, scope) for scope in scopes):
        raise TokenError("invalid_scope", "The client may not have one of these scopes, or there is no such.")
    return scopes


def _may_grant(owner: Principal, scope: str) -> bool:
    """Return whether *owner* may hand on *scope*; `*` is more than `admin` says."""
    return scope in owner.scopes if scope == ALL_SCOPES else owner.may(scope)


def _malformed(description: str) -> NoReturn:
    raise TokenError("invalid_request", description)


# --- the endpoint ---------------------------------------------------------------------------------


async def issue_token(call: Call) -> Answer:
    """Give an OAuth client an access token, good for an hour, until the client is revoked or ends.

    The client proves itself by HTTP Basic or with fields of the form. Refusals are those of RFC 6749.
    """
    if call.hub.settings.api.auth_type == "none":
        raise NotFoundError("Everyone may call this hub: there are no tokens.")
    try:
        return await _issue(call)
    except TokenError as refused:
        if refused.error == "invalid_client":
            count_failure(call.hub, call.request)
        return refused.answer()


async def _issue(call: Call) -> Answer:
    hub, request = call.hub, call.request
    form = read_form(await _read(request), request.content_type)
    given = read_credentials(request.headers.get(hdrs.AUTHORIZATION), form)
    # Asked of the database: a client made or revoked beside the hub counts at once.
    client, now = await hub.db.read(lambda conn: keys.get(conn, given.client_id)), hub.clock.iso()
    if client is None or not is_client(client, given.secret, now):
        raise TokenError("invalid_client", "There is no such client, its secret is wrong, or it has ended.")
    hub.keyring.used[client.id] = now
    if hub.settings.api.rate_limit.enabled:
        take_allowance(hub, client.id)
    if "grant_type" not in form:
        _malformed("The field grant_type is needed.")
    if form["grant_type"] != GRANT:
        raise TokenError("unsupported_grant_type", f"There is only {GRANT}.")
    token, stored = new_access_token(hub.clock, client, granted_scopes(client, form.get("scope")))
    await hub.db.write(lambda conn: access_tokens.insert(conn, stored))
    valid_ms = parse_iso(stored.expires_at) - parse_iso(stored.created_at)
    document = {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": valid_ms // MS_PER_S,
        "scope": " ".join(stored.scopes),
    }
    return Answer.json(document, headers=_HEADERS)


async def _read(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            return await request.read()
    except TimeoutError:
        raise HubError(f"The body did not arrive within {READ_WITHIN_S:g} s.", code="bad_request") from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise HubError("The body cannot be read as its headers describe it.", code="bad_request") from None


ENDPOINTS = (
    Endpoint(
        "POST",
        "/oauth/token",
        "issueToken",
        "Get an access token",
        issue_token,
        None,
        "keys",
        form=TokenForm,
        answer="AccessToken",
        errors=("bad_request", "not_found", "body_too_large", "rate_limited", "storage_unavailable"),
        raw=True,
    ),
)
