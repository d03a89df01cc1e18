"""A reader that loses its connection again and again, to a hub that is killed again and again, misses nothing."""

import asyncio
import contextlib
import json
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.journeys.hub import Hub
from tests.support import eventually

DURATION_S = float(os.environ.get("RALF_HUB_RESUME_S", "30"))
SEED = int(os.environ.get("RALF_HUB_SEED", "20260201"))
EVENTS_PER_S = 200
CUTS = 20
KILLS = 5
WRITERS = 8


class Reader:
    """Follows the events, and after whatever happens goes on behind the last one it saw."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.seqs: list[int] = []
        self.connections = 0
        self.gaps: list[object] = []
        self._socket: socket.socket | None = None

    @property
    def last(self) -> int:
        return self.seqs[-1] if self.seqs else 0

    def is_open(self) -> bool:
        return self._socket is not None

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            headers = {"Authorization": f"Bearer {self.hub.key}"}
            try:
                async with aiohttp.ClientSession(headers=headers) as session:
                    async for seq in self.follow(session):
                        self.seqs.append(seq)
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.02)  # what every client does while the hub is down
            finally:
                self._socket = None

    def opened(self, connection: socket.socket) -> None:
        self._socket = connection
        self.connections += 1

    async def cut(self) -> None:
        """End the connection without a word, once there is one."""
        await eventually(self.is_open, within_s=30)
        assert self._socket is not None
        with contextlib.suppress(OSError):  # a kill was quicker
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket = None

    def follow(self, session: aiohttp.ClientSession) -> AsyncIterator[int]:
        raise NotImplementedError


class SocketReader(Reader):
    async def follow(self, session: aiohttp.ClientSession) -> AsyncIterator[int]:
        async with session.ws_connect(f"{self.hub.url}/api/v1/stream?since={self.last}") as ws:
            self.opened(ws.get_extra_info("socket"))
            async for frame in ws:
                message = json.loads(frame.data)
                if message.get("topic") == "events":
                    yield message["seq"]
                elif message["op"] != "ack":
                    self.gaps.append(message)


class EventSourceReader(Reader):
    async def follow(self, session: aiohttp.ClientSession) -> AsyncIterator[int]:
        headers = {"Last-Event-ID": str(self.last)}
        async with session.get(f"{self.hub.url}/api/v1/events/stream", headers=headers) as answer:
            answer.raise_for_status()
            assert answer.connection is not None
            assert answer.connection.transport is not None
            self.opened(answer.connection.transport.get_extra_info("socket"))
            fields: dict[str, str] = {}
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                    continue
                if fields.get("event") == "gap":
                    self.gaps.append(fields)
                elif "id" in fields:
                    assert json.loads(fields["data"])["seq"] == int(fields["id"])
                    yield int(fields["id"])
                fields = {}


async def emit(hub: Hub, number: int, session: aiohttp.ClientSession) -> int:
    """Emit the event *number* and return its seq: asked again until answered, and taken once."""
    headers = {"Authorization": f"Bearer {hub.key}", "Idempotency-Key": f"resume-{number}"}
    body = {"type": "resume_test", "data": {"number": number}}
    while True:
        try:
            async with session.post(f"{hub.url}/api/v1/events", json=body, headers=headers) as answer:
                assert answer.status == 202, await answer.text()
                return int((await answer.json())["seq"])
        except (aiohttp.ClientError, OSError):
            await asyncio.sleep(0.05)  # killed: what was not answered is asked again


async def write(hub: Hub, numbers: Iterator[int], begun: float) -> list[int]:
    """Emit events, each when it is due; several of these share *numbers*."""
    seqs = []
    async with aiohttp.ClientSession() as session:
        for number in numbers:
            await asyncio.sleep(max(0.0, begun + number / EVENTS_PER_S - time.monotonic()))
            seqs.append(await emit(hub, number, session))
    return seqs


async def at_moments(moments: list[float], begun: float) -> AsyncIterator[None]:
    for moment in sorted(moments):
        await asyncio.sleep(max(0.0, begun + moment - time.monotonic()))
        yield


async def cut_often(reader: Reader, moments: list[float], begun: float) -> None:
    async for _ in at_moments(moments, begun):
        await reader.cut()


async def kill_often(hub: Hub, moments: list[float], begun: float) -> None:
    async for _ in at_moments(moments, begun):
        hub.kill()
        await hub.start()


@pytest.mark.journey
async def test_readers_that_resume_see_every_event_once(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with Hub(tmp_path, "") as hub:
        readers = [SocketReader(hub), EventSourceReader(hub)]
        reading = [asyncio.create_task(reader.run()) for reader in readers]
        begun = time.monotonic()
        numbers = iter(range(int(DURATION_S * EVENTS_PER_S)))
        slices = [(i + chance.random() * 0.7) * DURATION_S / KILLS for i in range(KILLS)]
        cuts = [[chance.uniform(0.1, DURATION_S) for _ in range(CUTS)] for _ in readers]
        written, *_ = await asyncio.gather(
            asyncio.gather(*(write(hub, numbers, begun) for _ in range(WRITERS))),
            kill_often(hub, slices, begun),
            *(cut_often(reader, moments, begun) for reader, moments in zip(readers, cuts, strict=True)),
        )
        took = time.monotonic() - begun
        stored = [seq for (seq,) in hub.rows("SELECT seq FROM events ORDER BY seq")]
        for reader in readers:
            await eventually(lambda r=reader: r.last >= stored[-1], within_s=30)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

        told = sorted(seq for one in written for seq in one)
        of_ours = "SELECT seq FROM events WHERE type = 'resume_test' ORDER BY seq"
        assert told == [seq for (seq,) in hub.rows(of_ours)], "each event that was asked for is there once"
        assert len(told) == int(DURATION_S * EVENTS_PER_S)
        for reader in readers:
            assert reader.seqs == stored, type(reader).__name__
            assert not reader.gaps
            assert reader.connections > CUTS
        print(
            f"{len(stored)} events in {took:.0f} s, {KILLS} kills, connections: "
            + ", ".join(f"{type(reader).__name__} {reader.connections}" for reader in readers)
        )
