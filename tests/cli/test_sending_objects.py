"""`ralf-hub send` through connectors that keep an object per task: what the first action makes, the others work on."""

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.cli.helpers import Place
from tests.connectors.services import EACH_WITH_OBJECTS, Service
from tests.doubles.jira import EMAIL, TOKEN


def settings(place: Place, service: Service, double: Any, **more: str) -> None:
    given = {**service.settings(double), **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    place.config.write_text(
        f"[connectors.{service.kind}]\n"
        + "\n".join(lines)
        + '\n[security]\nallowed_networks = ["127.0.0.0/8"]\n',
        encoding="utf-8",
    )


@pytest.mark.parametrize("service", EACH_WITH_OBJECTS)
async def test_a_sample_becomes_one_object_with_all_that_belongs_to_it(
    service: Service, place: Place
) -> None:
    async with service.double(lambda: 0) as double:
        settings(place, service, double)
        done = await asyncio.to_thread(place.run, "send", service.kind, "--event", "task_completed")
        assert (done.code, "delivered" in done.out) == (0, True), done.out
        (made,) = service.kept(double).values()
        assert len(made.comments) == 1
    assert not place.db.exists()


@pytest.mark.parametrize("service", EACH_WITH_OBJECTS)
async def test_a_check_asks_and_posts_nothing(service: Service, place: Place) -> None:
    async with service.double(lambda: 0) as double:
        settings(place, service, double)
        done = await asyncio.to_thread(place.run, "check", "--live")
        assert done.code == 0, done.out + done.err
        assert service.kept(double) == {}
        assert {seen.method for seen in double.seen} == {"GET"}


@pytest.mark.parametrize("service", EACH_WITH_OBJECTS)
async def test_a_dry_run_shows_no_secret_in_any_form(service: Service, place: Place) -> None:
    async with service.double(lambda: 0) as double:
        settings(place, service, double, **({"auth": "query"} if service.kind == "trello" else {}))
        given = service.settings(double)
        done = await asyncio.to_thread(
            place.run, "send", service.kind, "--event", "task_completed", "--dry-run"
        )
        assert done.code == 0
        assert double.seen == []
    secrets = {str(given[key]) for key in ("api_token", "token", "api_key") if key in given}
    secrets.add(base64.b64encode(f"{EMAIL}:{TOKEN}".encode()).decode())
    assert not [secret for secret in secrets if secret in done.out + done.err]
    assert "***" in done.out
