"""Who may come in: by API key, by an access token of the hub's own, by one of the OpenID provider; and how often."""

from ipaddress import IPv6Address, ip_address
from typing import Final, NoReturn

from aiohttp import hdrs, web

from ralf_hub.delivery import network
from ralf_hub.errors import HubError
from ralf_hub.identity.claims import TokenRefusedError
from ralf_hub.keyring import ANONYMOUS, KEY_PREFIX, TOKEN_PREFIX, Principal
from ralf_hub.limits import Allowance
from ralf_hub.secrets import sha256_hex
from ralf_hub.services import Services
from ralf_hub.store import access_tokens, keys

NETWORK_BITS_V6: Final = 64
"""What one customer has of IPv6 at the least: limits by the whole address would not limit anybody."""
CHALLENGE: Final = 'Bearer realm="ralf-hub"'
"""What `WWW-Authenticate` begins with (RFC 6750)."""


async def admit(hub: Services, scope: str | None, request: web.Request) -> tuple[Principal, Allowance | None]:
    """Return who calls and what is left to them.

    HubError `missing_key`, `invalid_key`, `invalid_token`, `identity_unavailable`, `missing_scope`, `rate_limited`.
    """
    if scope is None:
        return ANONYMOUS, None
    limited = hub.settings.api.rate_limit.enabled
    if hub.settings.api.auth_type == "none":
        return ANONYMOUS, take_allowance(hub, who_limits(address_of(hub, request))) if limited else None
    bearer = _bearer_of(request)
    key = bearer or request.headers.get("X-API-Key", "").strip()
    if not key:
        refuse(hub, request, "missing_key")
    caller = _known(hub, key)
    if caller is None:
        caller = await _introduced(hub, request, key, is_bearer=bool(bearer))
    allowance = take_allowance(hub, caller.id) if limited else None
    if not caller.may(scope):
        raise lacks(scope)
    return caller, allowance


def _known(hub: Services, key: str) -> Principal | None:
    """Return whose key, or access token made here, this is; None where it is nobody's."""
    now = hub.clock.iso()
    caller = hub.keyring.find(key, now)
    if caller is not None or not key.startswith(TOKEN_PREFIX) or not key.isascii():
        return caller
    token = hub.db.peek(lambda conn: access_tokens.find(conn, sha256_hex(key), now=now))
    if token is None:
        return None
    scopes = frozenset(token.scopes)
    return Principal(token.client_id, token.client_name, scopes, token.token_sha256, token.expires_at)


def may_stay(hub: Services, principal: Principal, now: str) -> bool:
    """Return whether *principal*, let in before, would be let in still: asked of connections that stay open."""
    if hub.settings.api.auth_type == "none":
        return True
    if principal.proof:
        return hub.keyring.is_in_force(principal, now)
    return hub.identity is not None and principal.expires_at is not None and principal.expires_at > now


async def _introduced(hub: Services, request: web.Request, key: str, *, is_bearer: bool) -> Principal:
    """Return whose key this is that a command made a moment ago, or whom the provider's token names; else refuse *key*."""
    if key.startswith(TOKEN_PREFIX):
        refuse(hub, request, "invalid_token", "The access token has ended, was revoked or never was.")
    if key.startswith(KEY_PREFIX) and key.isascii():
        digest, now = sha256_hex(key), hub.clock.iso()
        if hub.db.peek(lambda conn: keys.opens(conn, digest, now=now)):
            await hub.reload_keys()
            if (caller := hub.keyring.find(key, now)) is not None:
                return caller
    if hub.identity is None or not is_bearer or key.startswith(KEY_PREFIX):
        refuse(hub, request, "invalid_key")
    try:
        return await hub.identity.principal(key)
    except TokenRefusedError as refused:
        refuse(hub, request, "invalid_token", str(refused))


def lacks(scope: str) -> HubError:
    """Return the error for who comes in but may not do this."""
    return HubError(
        f"This needs the scope {scope}.",
        code="missing_scope",
        extra={"scope": scope},
        headers={hdrs.WWW_AUTHENTICATE: f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
    )


def take_allowance(hub: Services, name: str) -> Allowance:
    """Count one call of *name*. HubError `rate_limited` when it comes too soon."""
    allowance = hub.limits.take(name, hub.clock.monotonic())
    if not allowance.allowed:
        raise HubError(
            f"At most {allowance.limit} requests a minute; the next may come in {allowance.retry_after_s} s.",
            code="rate_limited",
            headers=allowance.headers(),
        )
    return allowance


def count_failure(hub: Services, request: web.Request) -> None:
    """Count one call that did not prove who it is from. HubError `rate_limited`: its address has to wait."""
    allowance = hub.auth_limits.take(who_limits(address_of(hub, request)), hub.clock.monotonic())
    if not allowance.allowed:
        raise HubError(
            "Too many calls without a valid key from this address.",
            code="rate_limited",
            headers=allowance.headers(),
        )


def refuse(hub: Services, request: web.Request, code: str, detail: str = "") -> NoReturn:
    """Refuse a call without a valid key or token; an address that keeps trying has to wait.

    *detail* goes into a header: ASCII without quotes and backslashes.
    """
    count_failure(hub, request)
    challenge = CHALLENGE
    if code != "missing_key":
        challenge += ', error="invalid_token"'
    if detail:
        challenge += f', error_description="{detail}"'
    raise HubError(detail, code=code, headers={hdrs.WWW_AUTHENTICATE: challenge})


def _bearer_of(request: web.Request) -> str:
    scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def address_of(hub: Services, request: web.Request) -> str:
    """Return the caller's address; `X-Forwarded-For` counts only from proxies named in the settings."""
    remote = request.remote or ""
    proxies = hub.settings.security.trusted_proxies
    if not proxies:
        return remote
    trusted = network.networks([str(proxy) for proxy in proxies])
    lines = request.headers.getall("X-Forwarded-For", [])  # some proxies append a line, others to the line
    hops = [hop.strip() for hop in ",".join(lines).split(",") if hop.strip()]
    for hop in [remote, *reversed(hops)]:
        try:
            address = ip_address(hop)
        except ValueError:
            return remote
        if not any(address in proxy for proxy in trusted):
            return hop
    return remote


def who_limits(address: str) -> str:
    """Return by what name the limits know a caller: the address, of IPv6 the network it is in."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return f"{IPv6Address(int(known) >> NETWORK_BITS_V6 << NETWORK_BITS_V6)}/{NETWORK_BITS_V6}"
