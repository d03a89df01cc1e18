"""The provider's keys: fetched when needed, kept while it is away, never fetched more often than bounded."""

import asyncio
import logging

import pytest

from ralf_hub.config.models import OAuthSettings
from ralf_hub.delivery.transport import Transport
from ralf_hub.errors import HubError
from ralf_hub.identity.claims import TokenRefusedError
from ralf_hub.identity.provider import BYTES_MAX, FRESH_S, GAP_S, KEPT_S, RETRY_S, Provider
from tests.doubles.issuer import AUDIENCE, Issuer, Signer
from tests.doubles.server import Fault
from tests.support import SettableClock, eventually

STRANGE = Signer("strange", number=7)
NEXT = Signer("next", "P-256", "ES256")
UNKNOWN = "a key that the provider does not show"


async def is_taken(provider: Provider, token: str) -> bool:
    return (await provider.principal(token)).id == "oauth:ci-robot"


async def unavailable(provider: Provider, token: str) -> None:
    with pytest.raises(HubError) as raised:
        await provider.principal(token)
    assert raised.value.code == "identity_unavailable"
    assert raised.value.headers == {"Retry-After": "5"}


async def test_keys_are_found_by_discovery_at_the_first_token_and_kept(
    provider: Provider, issuer: Issuer
) -> None:
    assert issuer.seen == []
    for _ in range(3):
        assert await is_taken(provider, issuer.token())
    assert [seen.path for seen in issuer.seen] == ["/.well-known/openid-configuration", "/keys"]


async def test_where_the_keys_are_can_be_set(issuer: Issuer, clock: SettableClock) -> None:
    settings = OAuthSettings(issuer=issuer.url, audience=AUDIENCE, jwks_url=f"{issuer.url}/keys")
    async with Transport(allowed_networks=["127.0.0.0/8"]) as transport:
        assert await is_taken(Provider(settings, transport, clock.clock), issuer.token())
    assert [seen.path for seen in issuer.seen] == ["/keys"]


async def test_many_first_tokens_at_once_ask_once(provider: Provider, issuer: Issuer) -> None:
    assert all(await asyncio.gather(*(is_taken(provider, issuer.token()) for _ in range(20))))
    assert issuer.fetches == 1


async def test_what_is_plainly_no_token_asks_nobody(provider: Provider, issuer: Issuer) -> None:
    for token in ("garbage", issuer.token(header={"alg": "none"})):
        with pytest.raises(TokenRefusedError):
            await provider.principal(token)
    assert issuer.seen == []


async def test_unknown_keys_cause_one_fetch_however_many_tokens_name_them(
    provider: Provider, issuer: Issuer, clock: SettableClock
) -> None:
    assert await is_taken(provider, issuer.token())
    for number in range(20):
        with pytest.raises(TokenRefusedError, match=UNKNOWN):
            await provider.principal(issuer.token(STRANGE, {"kid": f"strange-{number}"}))
    assert issuer.fetches == 1  # the first one was a moment ago
    clock.advance(GAP_S)
    for number in range(20):
        with pytest.raises(TokenRefusedError, match=UNKNOWN):
            await provider.principal(issuer.token(STRANGE, {"kid": f"strange-{number}"}))
    assert issuer.fetches == 2


async def test_rotated_keys_count_at_once_and_withdrawn_ones_no_more(
    provider: Provider, issuer: Issuer, clock: SettableClock
) -> None:
    old = issuer.token()
    assert await is_taken(provider, old)
    issuer.signers = [NEXT]
    clock.advance(GAP_S)
    assert await is_taken(provider, issuer.token(NEXT))
    with pytest.raises(TokenRefusedError, match=UNKNOWN):
        await provider.principal(old)
    assert issuer.fetches == 2


async def test_keys_that_got_old_are_fetched_anew_and_nobody_waits(
    provider: Provider, issuer: Issuer, clock: SettableClock
) -> None:
    token = issuer.token(exp=issuer.now_s + 2 * FRESH_S)
    assert await is_taken(provider, token)
    clock.advance(FRESH_S)
    issuer.faults.append(Fault("/keys", status=503))
    assert await is_taken(provider, token)
    await eventually(lambda: issuer.fetches == 2)


async def test_while_the_provider_is_away_known_keys_go_on_for_a_day(
    provider: Provider, issuer: Issuer, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    token = issuer.token(exp=issuer.now_s + 3 * KEPT_S)
    assert await is_taken(provider, token)
    issuer.faults.append(Fault("*", times=1_000_000, status=503))
    clock.advance(FRESH_S)
    assert await is_taken(provider, token)
    clock.advance(GAP_S)
    await unavailable(provider, issuer.token(STRANGE))  # it may be a new key: nobody can say
    assert await is_taken(provider, token)
    clock.advance(KEPT_S)
    await unavailable(provider, token)
    issuer.faults.clear()
    await unavailable(provider, token)  # asked a moment ago
    clock.advance(RETRY_S)
    with caplog.at_level(logging.INFO):
        assert await is_taken(provider, token)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("ralf_hub.identity")]
    assert len(said) == 2
    assert "cannot be fetched: the provider answered 503" in said[0]
    assert "are fetched again" in said[1]


async def test_a_provider_that_was_never_there(
    provider: Provider, issuer: Issuer, clock: SettableClock
) -> None:
    await issuer.refuse()
    await unavailable(provider, issuer.token())
    await issuer.listen()
    clock.advance(RETRY_S)
    assert await is_taken(provider, issuer.token())


@pytest.mark.parametrize(
    "fault",
    [Fault("*", status=500), Fault("*", status=302, headers={"Location": "http://127.0.0.1:1/"}), Fault("*", status=200, body="<html>"), Fault("*", status=200, body="[]"), Fault("/keys", status=200, body='{"keys": []}'), Fault("/keys", status=404), Fault("*", drop="before", times=2), Fault("/keys", status=200, body='{"keys": [' + "{}," * (BYTES_MAX // 3) + "{}]}")],
)  # fmt: skip
async def test_answers_that_are_no_keys(
    provider: Provider, issuer: Issuer, clock: SettableClock, fault: Fault
) -> None:
    issuer.faults.append(fault)
    await unavailable(provider, issuer.token())
    clock.advance(RETRY_S)
    assert await is_taken(provider, issuer.token())


@pytest.mark.parametrize("discovered", [{"issuer": "https://evil.example.org"}, {"issuer": None}, {"jwks_uri": 5}, {"jwks_uri": None}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": ""}])  # fmt: skip
async def test_discovery_documents_that_are_not_believed(
    provider: Provider, issuer: Issuer, discovered: dict[str, object]
) -> None:
    issuer.discovered = discovered
    await unavailable(provider, issuer.token())
    assert issuer.fetches == 0


async def test_a_provider_in_a_network_the_hub_may_not_reach(issuer: Issuer, clock: SettableClock) -> None:
    async with Transport() as transport:
        provider = Provider(OAuthSettings(issuer=issuer.url, audience=AUDIENCE), transport, clock.clock)
        await unavailable(provider, issuer.token())
    assert issuer.seen == []


async def test_who_waits_when_the_hub_stops_is_answered(provider: Provider, issuer: Issuer) -> None:
    issuer.faults.append(Fault("*", delay_s=30))
    waiting = asyncio.create_task(unavailable(provider, issuer.token()))
    await eventually(lambda: issuer.seen)
    await provider.close()
    await waiting
