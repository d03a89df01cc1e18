"""A provider on loopback and what the hub knows of it, fetched through the real transport."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ralf_hub.config.models import OAuthSettings
from ralf_hub.delivery.transport import Transport
from ralf_hub.identity.provider import Provider
from tests.doubles.issuer import AUDIENCE, Issuer
from tests.support import SettableClock


@pytest.fixture
async def issuer(clock: SettableClock) -> AsyncIterator[Issuer]:
    async with Issuer(clock.ms / 1000) as started:
        yield started


@pytest.fixture
async def provider(issuer: Issuer, clock: SettableClock) -> AsyncIterator[Provider]:
    """The provider as the hub sees it; its clocks are both those of the test."""
    async with Transport(allowed_networks=["127.0.0.0/8"], timeout_s=5) as transport:
        both = replace(clock.clock, monotonic=lambda: clock.ms / 1000)
        made = Provider(OAuthSettings(issuer=issuer.url, audience=AUDIENCE), transport, both)
        yield made
        await made.close()
