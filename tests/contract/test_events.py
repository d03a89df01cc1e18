"""Contract 3, events: in order of `seq`, without a gap, long polls, what is emitted."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.box import TIME, Box

pytestmark = pytest.mark.journey


def test_an_emitted_event_is_recorded_before_the_answer(box: Box) -> None:
    reply = box.post(
        "/events", {"type": "tide.turned", "task_id": "NOT-A-TASK-YET", "data": {"height_m": 1.5}}
    )
    assert reply.status == 202
    event = reply.json
    assert {"seq", "id", "type", "source", "task_id", "occurred_at", "recorded_at", "data"} <= set(event)
    assert box.rows("SELECT id, type, task_id FROM events WHERE seq = ?", event["seq"]) == [
        (event["id"], "tide.turned", "NOT-A-TASK-YET")
    ]
    assert TIME.fullmatch(event["occurred_at"])
    assert box.get(f"/events?after={event['seq'] - 1}").json["events"][0] == event


def test_when_it_happened_may_be_said(box: Box) -> None:
    event = box.post("/events", {"type": "note", "occurred_at": "2026-02-01T23:30:00+07:00"}).json
    assert event["occurred_at"] == "2026-02-01T16:30:00.000Z"
    assert event["recorded_at"] > event["occurred_at"]


@pytest.mark.parametrize(
    "body",
    [{}, {"type": ""}, {"type": "a b"}, {"type": "1st"}, {"type": "x" * 101}, {"type": "x", "task_id": "a b"},
     {"type": "x", "data": []}, {"type": "x", "data": None}, {"type": "x", "occurred_at": "yesterday"},
     {"type": "x", "seq": 1}, {"type": 5}, {"type": "x", "data": {str(n): n for n in range(201)}}],
)  # fmt: skip
def test_events_that_cannot_be(box: Box, body: dict[str, object]) -> None:
    last = box.value("SELECT max(seq) FROM events")
    assert box.post("/events", body).code == "validation_failed"
    assert box.value("SELECT max(seq) FROM events") == last


def test_seq_has_no_gap_whoever_writes_at_once(box: Box) -> None:
    def write(n: int) -> None:
        if n % 3 == 0:
            box.task(f"{n}")
        elif n % 3 == 1:
            box.post("/tasks", {"title": ""})  # refused: leaves nothing behind
        else:
            box.post("/events", {"type": "note", "data": {"n": n}})

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(write, range(120)))
    seqs = [event["seq"] for event in box.events()]
    assert seqs == list(range(1, len(seqs) + 1))
    box.hub.kill()
    box.again()
    assert box.post("/events", {"type": "after"}).json["seq"] == len(seqs) + 1


def test_a_long_poll_ends_with_the_first_event(box: Box) -> None:
    last = box.get("/events?limit=1").json["last_seq"]
    answers = []

    def wait() -> None:
        started = time.monotonic()
        reply = box.get(f"/events?after={last}&wait=20")
        answers.append((time.monotonic() - started, reply.json["events"]))

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    event = box.post("/events", {"type": "awaited"}).json
    for thread in threads:
        thread.join()
    assert all(found[0] == event for _, found in answers)
    assert max(took for took, _ in answers) < 10


def test_a_long_poll_sees_what_a_command_and_sql_wrote(box: Box) -> None:
    last = box.get("/events?limit=1").json["last_seq"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.get, f"/events?after={last}&wait=30&type=by_hand")
        box.rows(
            "INSERT INTO events (id, type, source, occurred_at, recorded_at) VALUES ('evt_by_hand', 'by_hand', 'me', "
            "strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
        )
        assert [event["id"] for event in waiting.result().json["events"]] == ["evt_by_hand"]
        waiting = pool.submit(box.get, f"/events?after={last}&wait=30&type=told")
        done = box.command("emit", "told", "--task", "T-1", "--data", '{"a": 1}', "--json")
        assert done.returncode == 0, done.stderr
        event = waiting.result().json["events"][0]
    assert (event["type"], event["task_id"], event["data"]) == ("told", "T-1", {"a": 1})


def test_a_poll_for_nothing_ends_empty_in_time(box: Box) -> None:
    last = box.get("/events?limit=1").json["last_seq"]
    started = time.monotonic()
    reply = box.get(f"/events?after={last}&wait=1&type=never")
    assert reply.json["events"] == []
    assert 0.9 < time.monotonic() - started < 10
    for waiting in ("61", "-1", "x", "nan", "inf", ""):
        assert box.get(f"/events?wait={waiting}").code == "invalid_parameter"


def test_what_happens_to_a_task_is_told_in_order(box: Box) -> None:
    task_id = box.task(feature_id="F-TOLD")["id"]
    for body in (
        {"title": "new"},
        {"status": "in_progress"},
        {"status": "blocked"},
        {"status": "in_progress"},
    ):
        box.patch(f"/tasks/{task_id}", body)
    box.post(f"/tasks/{task_id}/progress", {"percent": 10})
    box.patch(f"/tasks/{task_id}", {"status": "failed", "error": "why"})
    box.patch(f"/tasks/{task_id}", {"status": "pending"})
    box.patch(f"/tasks/{task_id}", {"status": "completed"})
    types = [event["type"] for event in box.events(f"&task_id={task_id}")]
    assert types == [
        "task_created", "task_updated", "task_started", "task_blocked", "task_started", "task_progress", "task_failed",
        "task_updated", "task_completed",
    ]  # fmt: skip
    kinds = [
        event["type"]
        for event in box.events()
        if event["data"].get("feature_id") == "F-TOLD" or "feature" in event["type"]
    ]
    assert "feature_created" in kinds
    assert "feature_delivered" in kinds
