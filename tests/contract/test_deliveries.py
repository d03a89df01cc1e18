"""Contract 3 and 5, deliveries and connectors: what is told of them, replays, pauses, breakers, what no receiver can break."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.contract.box import TIME, Box, Ground, until
from tests.contract.conftest import SETTINGS
from tests.doubles.server import Fault

pytestmark = pytest.mark.journey

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class House:
    """A hub with two receivers, `a` and `b`, which get every event but progress."""

    def __init__(self, ground: Ground, folder: Path, more: str = "") -> None:
        self.a, self.b = (ground.receiver(SECRET) for _ in range(2))
        sinks = "\n".join(
            f'[connectors.{name}]\ntype = "webhook"\nurl = "{sink.url}/hook-{name}-secret-path"\nsecret = "{SECRET}"\n'
            'events = ["*", "!task_progress"]\n'
            for name, sink in (("a", self.a), ("b", self.b))
        )
        self.box = Box.start(ground, folder, f"{SETTINGS}\n{more}\n{sinks}")

    def of(self, task_id: str, connector: str = "a", **filters: str) -> list[dict[str, Any]]:
        query = "".join(f"&{name}={value}" for name, value in filters.items())
        found = self.box.get(f"/deliveries?task_id={task_id}&connector={connector}{query}").json["deliveries"]
        return list(found)

    def one(self, task_id: str, connector: str = "a") -> dict[str, Any]:
        delivery = self.of(task_id, connector)[-1]  # the oldest: that of its creation
        return dict(self.box.get(f"/deliveries/{delivery['id']}").json)

    def ended(self, task_id: str, connector: str = "a") -> dict[str, Any]:
        until(lambda: self.one(task_id, connector)["state"] != "pending")
        return self.one(task_id, connector)

    def tried(self, task_id: str) -> dict[str, Any]:
        until(lambda: self.one(task_id)["attempts"])
        return self.one(task_id)

    def settle(self) -> None:
        until(lambda: self.box.value("SELECT count(*) FROM outbox WHERE state = 'pending'") == 0, within_s=30)

    def connector(self, name: str = "a") -> dict[str, Any]:
        return next(c for c in self.box.get("/connectors").json["connectors"] if c["name"] == name)


@pytest.fixture(scope="module")
def shared(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(ground, tmp_path_factory.mktemp("house"), "breaker_failures = 1000")
    yield made
    made.box.close()
    ground.run(made.a.stop())
    ground.run(made.b.stop())


@pytest.fixture
def house(shared: House) -> House:
    """The same house for each test, with nothing left to do and nothing wrong."""
    for sink in (shared.a, shared.b):
        sink.faults.clear()
        sink.accepted.clear()
        sink.seen.clear()
    for name in ("a", "b"):
        shared.box.post(f"/connectors/{name}/resume")
    shared.settle()
    shared.a.accepted.clear()
    shared.b.accepted.clear()
    return shared


def test_a_delivered_one_shows_its_attempts_and_its_body_is_the_contracts(house: House) -> None:
    task = house.box.task("Polish", metadata={"n": 1})
    delivery = house.ended(task["id"])
    assert delivery["state"] == "delivered"
    assert delivery["explain"]
    (attempt,) = delivery["attempts"]
    assert (attempt["outcome"], attempt["status_code"]) == ("delivered", 204)
    assert attempt["duration_ms"] >= 0
    assert TIME.fullmatch(attempt["started_at"])
    assert isinstance(house.of(task["id"])[-1]["attempts"], int)

    received = next(r for r in house.a.accepted if r.json["data"]["task_id"] == task["id"])
    body = received.json
    assert set(body) == {"type", "timestamp", "data"}
    assert (body["type"], body["data"]["task"]["title"]) == ("task_created", "Polish")
    assert TIME.fullmatch(body["timestamp"])
    event = house.box.events(f"&task_id={task['id']}")[0]
    assert (body["data"]["seq"], body["data"]["event_id"]) == (event["seq"], event["id"])
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(received.headers)


def test_no_answer_shows_where_to_or_the_secret(house: House) -> None:
    task = house.box.task()
    house.a.faults.append(Fault(status=500, body=f"hook-a-secret-path {SECRET}"))
    house.box.patch(f"/tasks/{task['id']}", {"title": "x"})
    house.settle()
    shown = b"".join(
        house.box.get(path).body
        for path in (
            "/connectors",
            "/deliveries?limit=200",
            f"/deliveries/{house.one(task['id'])['id']}",
            "/events?limit=200",
        )
    )
    output = house.box.hub.output.read_bytes()
    for secret in (SECRET.encode(), SECRET.removeprefix("whsec_").encode(), b"secret-path"):
        assert secret not in shown
        assert secret not in output


def test_a_failed_one_goes_again_and_says_when(house: House) -> None:
    house.a.faults += [Fault(status=503), Fault(status=500), Fault(drop="after")]
    task = house.box.task()
    delivery = house.ended(task["id"])
    assert delivery["state"] == "delivered"
    assert [a["outcome"] for a in delivery["attempts"]] == ["retry", "retry", "ambiguous", "delivered"]
    ids = {s.headers["webhook-id"] for s in house.a.seen if task["id"].encode() in s.body}
    assert len(ids) == 1  # one name over all tries


def retry_after(box: Box, house: House, value: str) -> float:
    """Return how many seconds after the refusal the next try began."""
    house.a.faults.append(Fault(status=429, headers={"Retry-After": value}))
    task = box.task()
    first = house.tried(task["id"])["attempts"][0]
    second = house.ended(task["id"])["attempts"][1]
    times = [datetime.fromisoformat(attempt["started_at"]) for attempt in (first, second)]
    return (times[1] - times[0]).total_seconds()


def test_retry_after_in_seconds_and_as_a_date_is_obeyed(house: House) -> None:
    assert retry_after(house.box, house, "2") >= 2
    moment = datetime.now(UTC) + timedelta(seconds=3)
    waited = retry_after(house.box, house, format_datetime(moment, usegmt=True))
    assert waited >= 1  # the date has whole seconds, and the refusal came some time after it was made
    assert house.connector()["breaker"] == "closed"


@pytest.mark.parametrize("status", [400, 403, 404, 301, 302, 307])
def test_what_is_refused_for_good_is_not_repeated(house: House, status: int) -> None:
    house.a.faults.append(Fault(status=status, headers={"Location": f"{house.b.url}/elsewhere"}))
    task = house.box.task()
    delivery = house.tried(task["id"])
    if status in {400, 404}:
        delivery = house.ended(task["id"])
        assert (delivery["state"], len(delivery["attempts"])) == ("dead", 1)
        assert str(status) in delivery["last_error"]
        assert delivery["explain"]
    assert not house.b.calls("/elsewhere")


def test_broken_credentials_open_the_breaker_burn_nothing_and_are_told_elsewhere(house: House) -> None:
    house.a.faults.append(Fault(status=401, times=2))
    task = house.box.task()
    until(lambda: house.connector()["breaker"] == "open")
    delivery = house.one(task["id"])
    assert (delivery["state"], delivery["attempts_counted"]) == ("pending", 0)
    assert delivery["explain"]
    until(lambda: [r for r in house.b.accepted if r.json["type"] == "system_alert"])
    until(lambda: house.connector()["breaker"] == "closed")  # it probed by itself
    assert house.ended(task["id"])["state"] == "delivered"
    alerts = [e["data"]["code"] for e in house.box.events("&type=system_alert")]
    assert alerts[-2:] == ["connector_down", "connector_recovered"]


def test_410_disables_until_someone_resumes(house: House) -> None:
    house.a.faults.append(Fault(status=410))
    task = house.box.task()
    assert house.ended(task["id"])["state"] == "dead"
    assert house.connector()["breaker"] == "disabled"
    later = house.box.task()
    assert house.ended(later["id"], "b")["state"] == "delivered"
    assert house.one(later["id"])["state"] == "pending"
    assert house.box.post("/connectors/a/resume").status == 200
    assert house.ended(later["id"])["state"] == "delivered"


def test_a_pause_holds_and_a_resume_lets_go_in_order(house: House) -> None:
    assert house.box.post("/connectors/a/pause").json["paused"] is True
    task = house.box.task()
    for title in "123":
        house.box.patch(f"/tasks/{task['id']}", {"title": title})
    assert house.ended(task["id"], "b")["state"] == "delivered"
    assert house.one(task["id"])["attempts"] == []
    assert "paus" in house.one(task["id"])["explain"]
    house.box.hub.kill()
    house.box.again()
    assert house.connector()["paused"] is True
    assert house.box.post("/connectors/a/resume").json["paused"] is False
    house.settle()
    seqs = [r.json["data"]["seq"] for r in house.a.accepted if r.json["data"]["task_id"] == task["id"]]
    assert seqs == sorted(seqs)
    assert len(seqs) == 4
    types = [e["type"] for e in house.box.events()]
    assert {"connector_paused", "connector_resumed"} <= set(types)


def test_one_replay_and_many(house: House) -> None:
    house.a.faults.append(Fault(status=400, times=5))
    tasks = [house.box.task(f"{n}")["id"] for n in range(5)]
    dead = [house.ended(task_id)["id"] for task_id in tasks]
    reply = house.box.post(f"/deliveries/{dead[0]}/replay")
    assert (reply.status, reply.json["state"]) == (202, "pending")
    assert house.ended(tasks[0])["state"] == "delivered"

    filters = {"state": "dead", "connector": "a", "since": house.one(tasks[1])["created_at"]}
    counted = house.box.post("/deliveries/replay", {**filters, "dry_run": True})
    assert counted.json["count"] == 4
    assert house.one(tasks[1])["state"] == "dead"
    reply = house.box.post("/deliveries/replay", {**filters, "until": "2999-01-01T00:00:00Z"})
    assert (reply.status, reply.json["count"]) == (202, 4)
    where = reply.headers["location"]
    until(lambda: house.box.call("GET", where).json["state"] == "done")
    assert house.box.call("GET", where).json["done"] == 4
    house.settle()
    assert {house.one(task_id)["state"] for task_id in tasks} == {"delivered"}
    assert house.box.call("DELETE", where).code == "conflict"


def test_a_bulk_replay_lives_through_a_kill(house: House) -> None:
    box = house.box
    box.post("/connectors/a/pause")
    event = box.rows("SELECT id, seq, type FROM events ORDER BY seq DESC LIMIT 1")[0]
    box.rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
        "INSERT INTO outbox (event_id, event_seq, event_type, connector, action, payload, state, next_attempt_at, created_at) "
        "SELECT ?, ?, ?, 'a', 'seeded' || i, '{}', 'dead', datetime('now'), datetime('now') FROM n",
        *event,
    )  # fmt: skip
    dead = box.value("SELECT count(*) FROM outbox WHERE connector = 'a' AND state = 'dead'")
    reply = box.post("/deliveries/replay", {"connector": "a"})
    assert reply.json["count"] == dead >= 3000
    box.hub.kill()
    box.again()
    where = reply.headers["location"]
    until(lambda: box.call("GET", where).json["state"] == "done", within_s=60)
    assert box.value("SELECT count(*) FROM outbox WHERE action LIKE 'seeded%' AND state = 'pending'") == 3000
    box.rows("DELETE FROM outbox WHERE action LIKE 'seeded%'")


def test_cancelled_by_someone(house: House) -> None:
    house.box.post("/connectors/a/pause")
    task = house.box.task()
    delivery_id = house.one(task["id"])["id"]
    reply = house.box.post(f"/deliveries/{delivery_id}/cancel")
    assert (reply.status, reply.json["state"]) == (200, "cancelled")
    house.box.post("/connectors/a/resume")
    house.settle()
    assert house.one(task["id"])["state"] == "cancelled"
    assert not [r for r in house.a.accepted if r.json["data"]["task_id"] == task["id"]]
    assert house.box.post(f"/deliveries/{delivery_id}/replay").status == 202
    assert house.ended(task["id"])["state"] == "delivered"
    assert house.box.post(f"/deliveries/{delivery_id}/cancel").code == "conflict"


@pytest.mark.parametrize(
    "body",
    [{"state": "pending"}, {"state": "x"}, {"since": "yesterday"}, {"connector": 5}, {"colour": 1}, {"dry_run": "yes"}],
)  # fmt: skip
def test_bulk_replays_that_cannot_be(house: House, body: dict[str, Any]) -> None:
    assert house.box.post("/deliveries/replay", body).code == "validation_failed"


def test_a_word_through_one_connector_and_a_check_of_it(house: House) -> None:
    reply = house.box.post("/connectors/a/notify", {"text": "The tide turns.", "title": "Tide"})
    assert reply.status == 202
    until(lambda: [r for r in house.a.accepted if r.json["data"].get("text") == "The tide turns."])
    assert house.box.post("/connectors/a/notify", {"message": "It is high."}).status == 202
    until(lambda: [r for r in house.a.accepted if r.json["data"].get("text") == "It is high."])
    assert not house.b.accepted
    assert house.box.post("/connectors/a/notify", {}).code == "validation_failed"
    reply = house.box.post("/connectors/a/test")
    assert reply.status == 200
    assert isinstance(reply.json["ok"], bool)
    assert reply.json["message"]


def test_the_deliveries_of_one_task_go_in_order_and_others_do_not_wait(house: House) -> None:
    slow = house.box.task("slow")["id"]
    house.settle()
    house.a.faults.append(Fault(status=503, times=3, holding=slow))
    for n in range(5):
        house.box.patch(f"/tasks/{slow}", {"title": f"{n}"})
    quick = house.box.task("quick")["id"]
    assert house.ended(quick)["state"] == "delivered"
    house.settle()
    order = [r.json["data"]["seq"] for r in house.a.accepted if r.json["data"]["task_id"] == slow]
    assert order == sorted(order)
    assert len(order) == 6


def test_what_was_in_flight_at_a_kill_is_the_most_that_comes_twice(house: House) -> None:
    house.a.faults.append(Fault(delay_s=0.2, times=10_000))
    ids = [house.box.task(f"{n}")["id"] for n in range(40)]
    in_flight = until(lambda: house.connector()["in_flight"])
    house.box.hub.kill()
    house.a.faults.clear()
    house.box.again()
    house.settle()
    names = [r.id for r in house.a.accepted if r.json["data"]["task_id"] in set(ids)]
    assert len(set(names)) == 40
    assert len(names) - 40 <= 32, in_flight  # the default concurrency
    done = house.box.command("verify", "--json")
    assert done.returncode == 0, done.stdout


def test_verify_and_the_metrics_agree(house: House) -> None:
    numbers = house.box.get("/metrics").json["deliveries"]
    for name in ("a", "b"):
        rows = dict(house.box.rows("SELECT state, count(*) FROM outbox WHERE connector = ? GROUP BY 1", name))
        shown = numbers[name]
        assert {
            "pending",
            "delivered",
            "dead",
            "success_rate",
            "p50_ms",
            "p95_ms",
            "p99_ms",
            "oldest_pending_age_s",
        } <= set(shown)
        for state in ("pending", "delivered", "dead"):
            assert shown[state] == rows.get(state, 0)


def test_sigterm_finishes_what_is_on_its_way(house: House) -> None:
    house.a.faults.append(Fault(delay_s=1.0))
    task = house.box.task()
    until(lambda: house.connector()["in_flight"])
    assert house.box.stop() == 0
    assert house.box.rows(
        "SELECT o.state, count(a.id) FROM outbox o JOIN attempts a ON a.delivery_id = o.id "
        "WHERE o.task_id = ? AND o.connector = 'a'",
        task["id"],
    ) == [("delivered", 1)]
    house.box.again()
