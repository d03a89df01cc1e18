import logging

import pytest

from ralf_hub.watcher.progress import SAY_EVERY_S, LoggedProgress


def test_a_line_every_few_seconds_says_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    progress = LoggedProgress(lambda: now)
    progress("tasks", 100, None)
    assert caplog.messages == [], "a short import says nothing"
    now += SAY_EVERY_S
    progress("tasks", 12_300, None)
    progress("tasks", 12_400, None)
    now += SAY_EVERY_S
    progress("events", 750, 1000)
    now += SAY_EVERY_S
    progress("done", 0, None)
    assert caplog.messages == ["workspace: 12,300 task files read", "workspace: 75 % of events read"]
