"""A second opinion on what is sent: Prism reads the services' descriptions by itself and judges each request.

`make contract` installs it (https://github.com/stoplightio/prism, it needs Node) and runs this; elsewhere these tests are
skipped, and openapi-core alone judges. Prism skips a schema it cannot compile and then lets everything through, so
for every service it must also refuse requests that are wrong.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from ralf_hub.connectors.identities import identity
from tests.connectors.outside import outside
from tests.connectors.services import SERVICES, Service, live
from tests.doubles import trello
from tests.doubles.contract import Contract, needs_specs
from tests.doubles.server import Fault, Seen
from tests.journeys.hub import free_port
from tests.support import SettableClock

PRISM = os.environ.get("RALF_HUB_PRISM", "")
START_WITHIN_S = 60.0

pytestmark = [
    pytest.mark.journey,
    pytest.mark.shared,
    needs_specs,
    pytest.mark.skipif(not PRISM, reason="`make contract` installs Prism and runs this"),
]

JSON = {"content-type": "application/json"}
KEYS = {"key": trello.KEY, "token": trello.TOKEN}
WRONG = {
    "jira": [
        Seen("POST", "/rest/api/3/issue", {}, JSON, b'{"fields":"x"}'),
        Seen("POST", "/rest/api/3/issue/X-1/transitions", {}, JSON, b'{"transition":"5"}'),
        Seen("POST", "/rest/api/3/search/jql", {}, JSON, b'{"startAt":0}'),
    ],
    "trello": [
        Seen("POST", "/1/cards", KEYS, {}, b""),
        Seen("POST", "/1/cards", {**KEYS, "idList": "zz"}, {}, b""),
        Seen("POST", "/1/cards", {"idList": trello.BOARD}, {}, b""),
    ],
    "github": [
        Seen("POST", "/repos/o/r/issues", {}, JSON, b'{"body":"no title"}'),
        Seen("PATCH", "/repos/o/r/issues/1", {}, JSON, b'{"state":"done"}'),
        Seen("POST", "/repos/o/r/issues/1/comments", {}, JSON, b'{"text":"x"}'),
    ],
    "gitlab": [
        Seen("POST", "/api/v4/projects/7/issues/1/notes", {}, JSON, b'{"text":"x"}'),
        Seen("GET", "/api/v4/projects/7/issues/1/notes", {"sort": "up"}, {}, b""),
    ],
    "discord": [
        Seen("POST", "/api/v10/channels/1/messages", {}, JSON, json.dumps({"content": "x" * 4_001}).encode()),
        Seen("POST", "/api/v10/channels/1/messages", {}, JSON, json.dumps({"embeds": [{}] * 11}).encode()),
    ],
    "pagerduty": [
        Seen("POST", "/v2/enqueue", {}, JSON, b'{"event_action":"trigger"}'),
        Seen("POST", "/v2/enqueue", {}, JSON, b'{"event_action":"explode","routing_key":"R"}'),
    ],
}
"""What each service's description refuses; a judge that takes one of these has not understood it."""

EACH_DESCRIBED = [pytest.param(service, id=str(service)) for service in SERVICES if service.kind in WRONG]


class Prism:
    """A running Prism for one description."""

    def __init__(self, url: str, base: str, session: aiohttp.ClientSession) -> None:
        self._url, self._base, self._session = url, base, session

    async def complaint(self, seen: Seen) -> str | None:
        """Return what Prism has against a request; None where it takes it."""
        path = (seen.raw_path or seen.path).removeprefix(self._base)
        url = URL(self._url + path, encoded=True).with_query(dict(seen.query))
        kept = {"content-type", "authorization", "private-token", "accept"}
        headers = {name: value for name, value in seen.headers.items() if name in kept}
        headers["accept"] = "*/*"
        async with self._session.request(
            seen.method, url, data=seen.body or None, headers=headers, skip_auto_headers=["Content-Type"]
        ) as answer:
            said = await answer.text()
            # It judges the answer that it made up, too; that is nobody's fault here.
            broken = answer.headers.get("sl-violations", "")
            if answer.status < 400 and '"location":["request"' not in broken:
                return None
            return f"{seen.method} {path} {dict(seen.query)}: {answer.status} {broken or said[:500]}"


@asynccontextmanager
async def prism(contract: Contract, folder: Path) -> AsyncIterator[Prism]:
    described = contract.description()
    file = folder / "description.json"
    file.write_text(json.dumps(described), encoding="utf-8")
    port = free_port()
    with (folder / "prism.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PRISM, "mock", "-h", "127.0.0.1", "-p", str(port), str(file), stdout=log, stderr=log
        )
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(START_WITHIN_S):
                while not await answers(session, port):
                    assert process.returncode is None, (folder / "prism.log").read_text(encoding="utf-8")
                    await asyncio.sleep(0.1)
            base = urlsplit(described["servers"][0]["url"]).path.rstrip("/")
            yield Prism(f"http://127.0.0.1:{port}", base, session)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def answers(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/no/such/path") as answer:
            return answer.status == 404
    except aiohttp.ClientConnectionError:
        return False


@pytest.mark.parametrize("service", EACH_DESCRIBED)
async def test_prism_takes_what_is_sent_and_refuses_what_is_wrong(
    service: Service, db_path: Path, tmp_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[tuple[Contract, Seen]] = []
    judged = Contract.violation

    def violation(contract: Contract, seen: Seen) -> str | None:
        checked.append((contract, seen))
        return judged(contract, seen)

    monkeypatch.setattr(Contract, "violation", violation)
    async with service.double(lambda: clock.ms) as double:
        settings: dict[str, Any] = service.settings(double)
        # The check of "format": "url" takes no address of this machine.
        env = {**service.env, "hub_url": "https://hub.example.org"}
        async with outside(db_path, clock, service.kind, env=env, concurrency=1, **settings) as out:
            connector = out.house.connectors[service.kind]
            await identity(connector, out.house.transport)
            check = await connector.validate(out.house.transport)
            assert check.ok, check.message
            # An answer to each action is lost, so that the look-ups are made too.
            double.faults += [
                Fault(act.path, method=act.method, drop="after") for act in service.actions.values()
            ]
            await live(out, service)
            await out.settle()
            assert {state for _, state in out.states()} == {"delivered"}
    (contract,) = {id(contract): contract for contract, _ in checked}.values()
    async with prism(contract, tmp_path) as judge:
        complaints = [await judge.complaint(seen) for _, seen in checked]
        taken = [seen for seen in WRONG[service.kind] if await judge.complaint(seen) is None]
    assert [words for words in complaints if words is not None] == []
    assert taken == []
    print(f"{service}: {len(checked)} requests taken, {len(WRONG[service.kind])} wrong ones refused")
