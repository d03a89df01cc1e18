"""Contract 4: the database is part of the interface. Everything here goes through the `sqlite3` command beside the hub."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.contract.box import TIME, Box, Ground, until
from tests.contract.conftest import SETTINGS
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 command is not installed"),
]

NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
COLUMNS = {
    "outbox": "id event_id event_type task_id connector action payload state attempts next_attempt_at last_error created_at "
    "delivered_at",
    "attempts": "id delivery_id started_at duration_ms outcome status_code error",
    "events": "seq id type source task_id occurred_at recorded_at data",
    "tasks": "id title status priority depends_on",
    "features": "id title status priority",
    "links": "connector external_id external_key url",
    "webhook_receipts": "id service status",
    "api_keys": "id name scopes",
    "api_usage": "day endpoint requests",
}
VIEWS = ("v_outbox_due", "v_dead_letters", "v_lag", "v_delivery_log")


@pytest.fixture(scope="module")
def sink(ground: Ground) -> Iterator[Receiver]:
    made = ground.receiver()
    yield made
    ground.run(made.stop())


@pytest.fixture(scope="module")
def hub(ground: Ground, tmp_path_factory: pytest.TempPathFactory, sink: Receiver) -> Iterator[Box]:
    connector = f'[connectors.sink]\ntype = "webhook"\nurl = "{sink.url}/x"\nevents = ["*"]\n'
    made = Box.start(ground, tmp_path_factory.mktemp("sql"), SETTINGS + connector)
    yield made
    made.close()


def sql(box: Box, statement: str) -> list[list[str]]:
    """Run *statement* as a person would."""
    done = subprocess.run(
        ["sqlite3", box.hub.db, ".timeout 5000", statement],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


def refused(box: Box, statement: str) -> str:
    done = subprocess.run(
        ["sqlite3", box.hub.db, ".timeout 5000", statement],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    return done.stderr


def dead(hub: Box, sink: Receiver, count: int = 1) -> list[str]:
    """Make dead letters and return their ids."""
    sink.faults.append(Fault(status=400, times=count, holding='"note"'))
    before = int(sql(hub, "SELECT coalesce(max(id), 0) FROM outbox")[0][0])
    for n in range(count):
        hub.post("/events", {"type": "note", "data": {"n": n}})
    found = f"SELECT id FROM outbox WHERE id > {before} AND state = 'dead'"
    until(lambda: len(sql(hub, found)) == count)
    return [row[0] for row in sql(hub, found)]


def test_the_file_is_what_was_promised(hub: Box) -> None:
    assert sql(hub, "PRAGMA journal_mode") == [["wal"]]
    strict = sql(hub, "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict "
                      "AND name NOT LIKE 'sqlite_%'")  # fmt: skip
    assert strict == []
    for table, columns in COLUMNS.items():
        present = {row[0] for row in sql(hub, f"SELECT name FROM pragma_table_xinfo('{table}')")}
        assert set(columns.split()) <= present, table
    for view in VIEWS:
        sql(hub, f"SELECT * FROM {view} LIMIT 1")
    assert sql(hub, "SELECT * FROM outbox WHERE state='pending'") == []
    assert sql(hub, "PRAGMA integrity_check") == [["ok"]]


def test_every_time_is_text_as_the_api_writes_it(hub: Box, sink: Receiver) -> None:
    task = hub.task()
    hub.patch(f"/tasks/{task['id']}", {"status": "completed"})
    dead(hub, sink)
    for table in COLUMNS:
        names = [
            row[0]
            for row in sql(
                hub, f"SELECT name FROM pragma_table_info('{table}') WHERE name LIKE '%\\_at' ESCAPE '\\'"
            )
        ]
        for name in names:
            for (value,) in sql(
                hub, f"SELECT DISTINCT {name} FROM {table} WHERE {name} IS NOT NULL LIMIT 50"
            ):
                assert TIME.fullmatch(value), (table, name, value)


def test_an_update_is_a_replay_within_a_second(hub: Box, sink: Receiver) -> None:
    ids = ",".join(dead(hub, sink, 3))
    assert len(sql(hub, f"SELECT * FROM v_dead_letters WHERE id IN ({ids})")) == 3
    before = len(sink.accepted)
    sql(hub, f"UPDATE outbox SET state='pending', next_attempt_at={NOW} WHERE state='dead' AND id IN ({ids})")
    until(lambda: len(sink.accepted) == before + 3, within_s=5)
    until(
        lambda: (
            sql(hub, f"SELECT DISTINCT state, attempts FROM outbox WHERE id IN ({ids})")
            == [["delivered", "1"]]
        )
    )
    assert sql(hub, f"SELECT count(*) FROM attempts WHERE delivery_id IN ({ids})") == [["6"]]


@pytest.mark.parametrize("when", ["datetime('now')", "'2026-01-01'", "strftime('%Y-%m-%d %H:%M', 'now')", "'2026-01-01T00:00:00+07:00'"])  # fmt: skip
def test_other_ways_to_write_a_time_are_understood(hub: Box, sink: Receiver, when: str) -> None:
    (one,) = dead(hub, sink)
    sql(hub, f"UPDATE outbox SET state='pending', next_attempt_at={when} WHERE id={one}")
    until(lambda: sql(hub, f"SELECT state FROM outbox WHERE id={one}") == [["delivered"]])
    assert TIME.fullmatch(sql(hub, f"SELECT next_attempt_at FROM outbox WHERE id={one}")[0][0])


def test_what_is_no_state_and_no_time_is_refused(hub: Box, sink: Receiver) -> None:
    (one,) = dead(hub, sink)
    assert "CHECK" in refused(hub, f"UPDATE outbox SET state='gone' WHERE id={one}")
    assert "NOT NULL" in refused(
        hub, f"UPDATE outbox SET state='pending', next_attempt_at='soon' WHERE id={one}"
    )
    assert "CHECK" in refused(
        hub, "INSERT INTO tasks (id, title, status, created_at, updated_at) VALUES ('X', 'x', 'done', '', '')"
    )
    assert sql(hub, f"SELECT state FROM outbox WHERE id={one}") == [["dead"]]


def test_giving_up_by_hand(hub: Box, sink: Receiver) -> None:
    hub.post("/connectors/sink/pause")
    task_id = hub.task()["id"]
    sql(
        hub,
        f"UPDATE outbox SET state='cancelled', last_error='not wanted' WHERE task_id='{task_id}' AND state='pending'",
    )
    hub.post("/connectors/sink/resume")
    last = hub.task()["id"]
    until(lambda: [r for r in sink.accepted if r.json["data"].get("task_id") == last])
    assert not [r for r in sink.accepted if r.json["data"].get("task_id") == task_id]
    assert hub.get(f"/deliveries?task_id={task_id}").json["deliveries"][0]["last_error"] == "not wanted"


def test_rows_put_in_by_hand_go_out(hub: Box, sink: Receiver) -> None:
    columns = (
        "event_id, event_seq, event_type, task_id, connector, action, payload, next_attempt_at, created_at"
    )
    payload = '{"type":"by_hand","timestamp":"2026-01-01T00:00:00.000Z","data":{}}'
    last = "FROM events ORDER BY seq DESC LIMIT 1"
    hub.post("/events", {"type": "note"})
    for action, when in (
        ("now", NOW),
        ("sloppy", "datetime('now')"),
        ("later", "datetime('now', '+1 hour')"),
    ):
        sql(hub, f"INSERT INTO outbox ({columns}) SELECT id, seq, type, task_id, 'sink', '{action}', '{payload}', {when}, "
                 f"datetime('now') {last}")  # fmt: skip
    done = "SELECT action FROM outbox WHERE action IN ('now', 'sloppy', 'later') AND state = 'delivered' ORDER BY 1"
    until(lambda: sql(hub, done) == [["now"], ["sloppy"]], within_s=5)
    (row,) = sql(hub, "SELECT state, next_attempt_at, created_at FROM outbox WHERE action = 'later'")
    assert row[0] == "pending"
    assert all(TIME.fullmatch(moment) for moment in row[1:])
    delivery = next(
        d for d in hub.get("/deliveries?state=pending").json["deliveries"] if d["action"] == "later"
    )
    assert delivery["next_attempt_at"] == row[1]
    sql(hub, "DELETE FROM outbox WHERE action IN ('now', 'sloppy', 'later')")


def test_a_connector_is_paused_by_hand(hub: Box, sink: Receiver) -> None:
    sql(hub, "UPDATE connectors SET paused = 1 WHERE name = 'sink'")
    until(lambda: hub.get("/connectors").json["connectors"][0]["paused"] is True, within_s=3)
    task_id = hub.task()["id"]
    sql(hub, "UPDATE connectors SET paused = 0 WHERE name = 'sink'")
    until(lambda: [r for r in sink.accepted if r.json["data"].get("task_id") == task_id], within_s=5)


def test_a_task_changed_by_hand_is_another_version(hub: Box) -> None:
    task, other = hub.task(), hub.task()
    path = f"/tasks/{task['id']}"
    tag = hub.get(path).headers["etag"]
    sql(
        hub,
        f"UPDATE tasks SET title = 'by hand', depends_on = json_array('{other['id']}') WHERE id = '{task['id']}'",
    )
    changed = hub.get(path, headers={"If-None-Match": tag})
    assert (changed.status, changed.json["title"], changed.json["version"]) == (200, "by hand", 2)
    assert hub.patch(path, {"title": "lost"}, headers={"If-Match": tag}).status == 412
    assert task["id"] in {t["id"] for t in hub.get("/queue").json["blocked"]}
    sql(hub, f"UPDATE tasks SET status = 'completed' WHERE id = '{other['id']}'")
    assert task["id"] in {t["id"] for t in hub.get("/queue").json["tasks"]}
    assert TIME.fullmatch(hub.get(f"/tasks/{other['id']}").json["completed_at"])
    assert hub.patch(path, {"title": "by the API"}).json["version"] == 3


def test_counts_stay_right_whoever_writes(hub: Box) -> None:
    sql(hub, f"INSERT INTO tasks (id, title, created_at, updated_at) VALUES ('BY-HAND', 'x', {NOW}, {NOW})")
    assert hub.get("/tasks/BY-HAND").status == 200
    assert hub.get("/tasks").json["total"] == int(sql(hub, "SELECT count(*) FROM tasks")[0][0])
    sql(hub, "DELETE FROM tasks WHERE id = 'BY-HAND'")
    assert hub.get("/tasks").json["total"] == int(sql(hub, "SELECT count(*) FROM tasks")[0][0])


def test_a_reader_who_stays_and_a_writer_who_takes_his_time(hub: Box) -> None:
    """Neither makes the hub fail; while another writes it waits."""
    with subprocess.Popen(["sqlite3", hub.hub.db], stdin=subprocess.PIPE, text=True) as shell:
        assert shell.stdin is not None
        shell.stdin.write("BEGIN; SELECT count(*) FROM tasks;\n")
        shell.stdin.flush()
        assert hub.post("/tasks", {"title": "beside a reader"}).status == 201
        shell.stdin.write("COMMIT; BEGIN IMMEDIATE;\n.shell sleep 1\nCOMMIT;\n.quit\n")
        shell.stdin.flush()
        assert hub.post("/tasks", {"title": "beside a writer"}).status == 201
        shell.stdin.close()
        shell.wait(timeout=20)
    assert hub.call("GET", "/health", key=None).status == 200
