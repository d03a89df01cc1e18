"""Where stored events end and live ones begin."""

from ralf_hub.clock import Clock
from ralf_hub.feed import Feed
from ralf_hub.model import Event
from ralf_hub.stream.broadcast import Broadcaster
from ralf_hub.stream.client import Client
from tests.support import eventually

AT = "2026-02-02T02:40:00.000Z"


def event(seq: int) -> Event:
    return Event(
        seq=seq,
        id=f"ev-{seq}",
        type="noted",
        source="test",
        task_id=None,
        occurred_at=AT,
        recorded_at=AT,
        data={},
    )


async def test_an_event_read_from_the_table_before_it_is_told_comes_once() -> None:
    """A commit can be read by others a moment before the one who made it hears of it."""
    stored = [event(1), event(2)]
    feed = Feed(last_seq=1)

    async def read(after: int, limit: int) -> list[Event]:
        return [one for one in stored if one.seq > after][:limit]

    async def bounds() -> tuple[int, int]:
        return 1, 2

    async def metrics() -> dict[str, int]:
        return {}

    got: list[int] = []

    async def send(message: bytes) -> None:
        got.append(int(message))

    stream = Broadcaster(feed, read, bounds, metrics, Clock(), lambda _who, _now: True)
    reader = Client(send=send, encode=lambda one: b"%d" % one.seq, topics=frozenset({"events"}))
    stream.clients.add(reader)
    assert [gap async for gap in stream.replay(reader, 0)] == []
    assert (got, reader.live) == ([1, 2], True)
    feed.publish([event(2)])
    feed.publish([event(3)])
    await eventually(lambda: 3 in got)
    assert got == [1, 2, 3]
    await reader.close()
