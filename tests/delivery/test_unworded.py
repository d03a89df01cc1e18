"""A delivery that its connector could not word has nothing to send: a replay says so, and leaves the connector alone."""

from contextlib import closing
from typing import Any

import pytest

from ralf_hub.clock import Clock
from ralf_hub.store import outbox
from tests.delivery.house import House, Poster, Sink
from tests.support import connect, eventually, rows


class Speechless(Poster):
    """Its code has a fault."""

    def plan(self, *_: Any) -> Any:
        raise KeyError("title")


async def test_a_replay_of_what_was_never_worded_dies_again_and_says_why(
    house: House, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    house.add("speechless", f"{sink.url}/a", Speechless)
    await house.start()
    await house.tell(1, "T-1")
    assert rows(house.path, "SELECT state FROM outbox") == [("dead",)]
    caplog.clear()
    with closing(connect(house.path)) as conn:
        assert outbox.replay(conn, 1, now=Clock().iso())
    await house.dispatcher.refresh()
    await eventually(house.settled)
    ((state, error),) = rows(house.path, "SELECT state, last_error FROM outbox")
    assert (state, error) == (
        "dead", "there is nothing to send: the event could not be worded when it was recorded",
    )  # fmt: skip
    assert house.state_of("speechless")[0] == "closed"
    assert (sink.seen, caplog.records) == ([], [])
