"""The OpenID provider: its keys fetched, kept, and fetched again when they get old or a token names one not yet seen."""

import asyncio
import logging
from typing import Final

from ralf_hub.clock import MS_PER_S, Clock
from ralf_hub.config.models import OAuthSettings
from ralf_hub.connectors.base import Http, HttpRequest, NotSentError, UnknownAnswerError
from ralf_hub.errors import HubError
from ralf_hub.identity.claims import (
    Expected,
    Header,
    ProviderKey,
    TokenRefusedError,
    matching,
    principal_of,
    read_header,
    read_keys,
    verify,
)
from ralf_hub.keyring import Principal
from ralf_hub.model import Json

log = logging.getLogger(__name__)

FRESH_S: Final = 3_600.0
"""Keys older than this are fetched anew, while they still count."""
KEPT_S: Final = 24 * 3_600.0
"""How long keys count while the provider cannot be reached: it may have withdrawn them since."""
GAP_S: Final = 30.0
"""Between two fetches, however many tokens name unknown keys."""
RETRY_S: Final = 5.0
"""Between two fetches after one that failed."""
TIMEOUT_S: Final = 10.0
BYTES_MAX: Final = 512 * 1024
DISCOVERY: Final = "/.well-known/openid-configuration"
"""https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig"""
_OK: Final = 200


class _FlawedAnswerError(Exception):
    """The provider answered with something else than what was asked for."""


class Provider:
    """One provider and what is known of its keys. Nothing is fetched before the first token comes."""

    def __init__(self, settings: OAuthSettings, http: Http, clock: Clock) -> None:
        self.settings = settings
        self._expected = Expected(settings.issuer, settings.audience)
        self._http = http
        self._clock = clock
        self._keys: tuple[ProviderKey, ...] = ()
        self._fetched_at = 0.0
        self._asked_at: float | None = None
        self._problem: str | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def principal(self, token: str) -> Principal:
        """Return whom *token* names. TokenRefusedError; HubError `identity_unavailable` where that cannot be known now."""
        header = read_header(token)
        keys = await self._keys_for(header)
        return principal_of(verify(token, header, keys, self._expected, self._clock.now() / MS_PER_S))

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    # --- keys -------------------------------------------------------------------------------------

    async def _keys_for(self, header: Header) -> list[ProviderKey]:
        """Return the keys that may have signed; nobody waits for a fetch whose key is known."""
        now = self._clock.monotonic()
        age = now - self._fetched_at
        found = matching(self._keys, header) if age < KEPT_S else []
        if found and age < FRESH_S:
            return found
        fetching = self._fetch_again(now)
        if found:
            return found
        if fetching is not None:
            await asyncio.wait({fetching})
            found = matching(self._keys, header) if self._problem is None else []
        if found:
            return found
        if self._problem is not None:
            raise HubError(
                "The identity provider's keys cannot be fetched now, so the token cannot be checked.",
                code="identity_unavailable",
                headers={"Retry-After": f"{RETRY_S:.0f}"},
            )
        raise TokenRefusedError("The token is signed with a key that the provider does not show.")

    def _fetch_again(self, now: float) -> asyncio.Task[None] | None:
        """Return the fetch under way, a new one, or None where the last was a moment ago."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        gap = GAP_S if self._problem is None else RETRY_S
        if self._asked_at is not None and now - self._asked_at < gap:
            return None
        self._fetching = asyncio.create_task(self._fetch(), name="provider-keys")
        return self._fetching

    async def _fetch(self) -> None:
        try:
            url = self.settings.jwks_url or await self._discover()
            keys = read_keys(await self._get(url))
        except asyncio.CancelledError:
            self._problem = "the hub asks this provider no longer"  # who waits is answered, not refused
            raise
        except (NotSentError, UnknownAnswerError, _FlawedAnswerError, ValueError) as error:
            if self._problem is None:
                log.warning("the keys of %s cannot be fetched: %s", self.settings.issuer, error)
            self._problem = str(error)
            return
        finally:
            # Counted from the end: who took long to fail is not asked again at once.
            self._asked_at = self._clock.monotonic()
        if self._problem is not None:
            log.info("the keys of %s are fetched again", self.settings.issuer)
        self._keys, self._fetched_at, self._problem = keys, self._clock.monotonic(), None

    async def _discover(self) -> str:
        """Return where the keys are, as the issuer says; one that says it is another is not believed."""
        document = await self._get(self.settings.issuer.rstrip("/") + DISCOVERY)
        found = document.get("jwks_uri") if isinstance(document, dict) else None
        if not isinstance(found, str) or document.get("issuer") != self.settings.issuer:
            raise _FlawedAnswerError("the discovery document names another issuer, or no keys")
        if self.settings.issuer.startswith("https:") and not found.startswith("https:"):
            raise _FlawedAnswerError("the discovery document names keys that are not behind https")
        return found

    async def _get(self, url: str) -> Json:
        answer = await self._http(
            HttpRequest(
                "GET",
                url,
                {"Accept": "application/json"},
                timeout_s=TIMEOUT_S,
                response_bytes_max=BYTES_MAX,
            )
        )
        if answer.status != _OK:
            raise _FlawedAnswerError(f"the provider answered {answer.status}")
        return answer.json()
