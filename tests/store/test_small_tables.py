"""Links, keys, idempotent answers, features, connector states: round trips and the rules between columns."""

import sqlite3
from dataclasses import fields, replace
from sqlite3 import Connection

import pytest

from ralf_hub.meters import Usage
from ralf_hub.model import Feature, Link, Task
from ralf_hub.store import connectors, features, jobs, keys, links, tasks, usage
from ralf_hub.store.connectors import ConnectorState
from ralf_hub.store.jobs import BulkJob
from ralf_hub.store.keys import ApiKey, StoredAnswer

NOW, LATER = "2026-02-01T10:00:00.000Z", "2026-02-01T11:00:00.000Z"

# --- links ----------------------------------------------------------------------------------------

LINK = Link(
    connector="jira",
    external_id="10001",
    external_key="RALF-1",
    url="https://jira.test/browse/RALF-1",
    state="linked",
    last_state="completed",
    marker="ralf:T-1",
    entity_type="feature",
    entity_id="F-1",
)


def test_every_field_of_a_link_comes_back(conn: Connection) -> None:
    links.save(conn, LINK, now=NOW)
    assert links.get(conn, "jira", "feature", "F-1") == LINK
    assert links.by_external(conn, "jira", "10001") == LINK
    assert links.of_entity(conn, "feature", "F-1") == [LINK]
    assert links.of_entities(conn, "feature", ["F-1", "F-2"]) == {"F-1": [LINK]}
    bare = Link("x")
    assert [item.name for item in fields(Link) if getattr(LINK, item.name) == getattr(bare, item.name)] == []


def test_what_is_not_linked_is_none(conn: Connection) -> None:
    assert links.get(conn, "jira", "task", "T-1") is None
    assert links.by_external(conn, "jira", "1") is None
    assert links.of_entity(conn, "task", "T-1") == []
    assert links.of_entities(conn, "task", []) == {}


def test_saving_again_fills_in_and_forgets_nothing(conn: Connection) -> None:
    begun = Link("jira", marker="m", entity_id="T-1")
    links.save(conn, begun, now=NOW)
    links.save(
        conn,
        Link("jira", external_id="1", external_key="K", url="u", state="linked", entity_id="T-1"),
        now=NOW,
    )
    links.save(conn, Link("jira", state="ambiguous", last_state="failed", entity_id="T-1"), now=LATER)
    assert links.get(conn, "jira", "task", "T-1") == Link(
        "jira", "1", "K", "u", state="ambiguous", last_state="failed", marker="m", entity_id="T-1"
    )
    assert conn.execute("SELECT created_at, updated_at FROM links").fetchall() == [(NOW, LATER)]


def test_an_object_outside_stands_for_one_thing_only(conn: Connection) -> None:
    links.save(conn, LINK, now=NOW)
    with pytest.raises(sqlite3.IntegrityError):
        links.save(conn, replace(LINK, entity_id="F-2"), now=NOW)
    links.save(conn, replace(LINK, connector="jira-2"), now=NOW)
    links.save(conn, Link("jira", entity_id="T-1"), now=NOW)
    links.save(conn, Link("jira", entity_id="T-2"), now=NOW)  # both without an object yet


# --- keys -----------------------------------------------------------------------------------------

KEY = ApiKey(
    id="key_1",
    name="ci",
    hint="rh_ab",
    scopes=("tasks:read", "queue:read"),
    kind="oauth",
    created_at=NOW,
    last_used_at=LATER,
    expires_at="2027-01-01T00:00:00.000Z",
    revoked_at="2026-12-01T00:00:00.000Z",
    key_sha256="a" * 64,
)


def test_every_field_of_a_key_comes_back(conn: Connection) -> None:
    keys.insert(conn, KEY)
    assert keys.get(conn, "key_1") == KEY
    assert keys.get(conn, "key_2") is None
    older = replace(
        KEY,
        id="key_0",
        key_sha256="b",
        created_at="2025",
        last_used_at=None,
        expires_at=None,
        revoked_at=None,
    )
    keys.insert(conn, older)
    assert keys.everyone(conn) == [older, KEY]


def test_a_key_never_shows_its_hash() -> None:
    assert "aaa" not in repr(KEY)


def test_a_key_is_revoked_once(conn: Connection) -> None:
    keys.insert(conn, replace(KEY, revoked_at=None))
    assert keys.revoke(conn, "key_1", now=NOW)
    assert not keys.revoke(conn, "key_1", now=LATER)
    assert not keys.revoke(conn, "key_2", now=NOW)
    assert conn.execute("SELECT revoked_at FROM api_keys").fetchone() == (NOW,)


def test_two_keys_are_never_the_same(conn: Connection) -> None:
    keys.insert(conn, KEY)
    with pytest.raises(sqlite3.IntegrityError):
        keys.insert(conn, replace(KEY, id="key_2"))


def test_use_is_noted(conn: Connection) -> None:
    keys.insert(conn, replace(KEY, last_used_at=None))
    keys.touch(conn, {"key_1": LATER, "key_that_was_deleted": LATER})
    assert conn.execute("SELECT last_used_at FROM api_keys").fetchall() == [(LATER,)]


def test_an_answer_is_found_again_by_its_owner_for_as_long_as_it_holds(conn: Connection) -> None:
    answer = StoredAnswer("hash", 201, {"Location": "/x"}, b"\x00body")
    keys.keep_answer(conn, "key_1", "abc", answer, now=NOW)
    assert keys.find_answer(conn, "key_1", "abc", since=NOW) == answer
    assert keys.find_answer(conn, "key_1", "abc", since=LATER) is None
    assert keys.find_answer(conn, "key_2", "abc", since=NOW) is None
    assert keys.find_answer(conn, "key_1", "abcd", since=NOW) is None
    newer = replace(answer, request_hash="other")
    keys.keep_answer(conn, "key_1", "abc", newer, now=LATER)
    assert keys.find_answer(conn, "key_1", "abc", since=LATER) == newer


# --- features -------------------------------------------------------------------------------------

FEATURE = Feature(
    id="F-1",
    title="Tïtle",
    status="active",
    priority="high",
    description="long",
    source="api",
    metadata={"a": [1]},
    created_at=NOW,
    updated_at=LATER,
    delivered_at="2026-12-01T00:00:00.000Z",
)


def test_every_field_of_a_feature_comes_back_with_its_tally(conn: Connection) -> None:
    features.save(conn, FEATURE)
    assert features.get(conn, "F-1") == FEATURE
    assert features.get(conn, "F-2") is None
    for n, status in enumerate(("completed", "completed", "cancelled", "pending")):
        tasks.insert(
            conn, Task(f"T-{n}", "x", status=status, feature_id="F-1", created_at=NOW, updated_at=NOW)
        )
    tasks.insert(conn, Task("T-9", "x", status="completed", created_at=NOW, updated_at=NOW))
    counted = replace(FEATURE, tasks_total=4, tasks_completed=2)
    assert features.get(conn, "F-1") == counted
    assert list(features.page(conn, limit=5).items) == [counted]


def test_saving_a_feature_again_keeps_when_it_was_made(conn: Connection) -> None:
    features.save(conn, FEATURE)
    features.save(conn, replace(FEATURE, title="new", created_at="later"))
    found = features.get(conn, "F-1")
    assert found is not None
    assert (found.title, found.created_at) == ("new", NOW)


def test_features_are_listed_by_id(conn: Connection) -> None:
    for n in (3, 1, 2, 5, 4):
        features.save(conn, replace(FEATURE, id=f"F-{n}", status="done" if n == 3 else "active"))
    first = features.page(conn, limit=2)
    second = features.page(conn, limit=9, cursor=first.next_cursor)
    assert [feature.id for feature in (*first.items, *second.items)] == ["F-1", "F-2", "F-3", "F-4", "F-5"]
    assert (first.total, second.next_cursor) == (5, None)
    assert [feature.id for feature in features.page(conn, limit=9, status="done").items] == ["F-3"]


# --- connector states -----------------------------------------------------------------------------

STATE = ConnectorState(
    name="slack",
    breaker="open",
    reason="401",
    failures=3,
    opened_at=NOW,
    probe_at=LATER,
    probes=2,
    paused=True,
    paused_by="me",
    held_until=LATER,
    last_delivered_at=NOW,
    last_error="401",
    last_error_at=NOW,
)


def test_every_field_of_a_state_comes_back(conn: Connection) -> None:
    assert connectors.get(conn, "slack") == ConnectorState("slack")
    connectors.save(conn, STATE, now=NOW)
    assert connectors.get(conn, "slack") == STATE
    assert connectors.everyone(conn) == {"slack": STATE}
    bare = ConnectorState("x")
    assert [f.name for f in fields(ConnectorState) if getattr(STATE, f.name) == getattr(bare, f.name)] == []


def test_what_was_learnt_while_delivering_never_ends_a_pause(conn: Connection) -> None:
    connectors.set_paused(conn, "slack", paused=True, by="me", now=NOW)
    connectors.save(conn, ConnectorState("slack", failures=1), now=NOW)
    state = connectors.get(conn, "slack")
    assert (state.paused, state.paused_by, state.failures) == (True, "me", 1)
    connectors.set_paused(conn, "slack", paused=False, by=None, now=NOW)
    assert connectors.get(conn, "slack") == ConnectorState("slack", failures=1)


def test_a_pause_touches_nothing_else(conn: Connection) -> None:
    connectors.save(conn, STATE, now=NOW)
    connectors.set_paused(conn, "slack", paused=False, by=None, now=LATER)
    assert connectors.get(conn, "slack") == replace(STATE, paused=False, paused_by=None)


# --- bulk jobs ------------------------------------------------------------------------------------

JOB = BulkJob(
    id="job_1",
    kind="replay",
    state="running",
    parameters={"state": "dead", "connector": None},
    total=500,
    done=200,
    last_id=77,
    created_by="me",
    created_at=NOW,
    updated_at=LATER,
)


def test_every_field_of_a_job_comes_back(conn: Connection) -> None:
    jobs.insert(conn, JOB)
    assert jobs.get(conn, "job_1") == JOB
    assert jobs.get(conn, "job_2") is None
    jobs.insert(conn, replace(JOB, id="job_0", state="done"))
    jobs.insert(conn, replace(JOB, id="job_2", created_at="2025"))
    assert [job.id for job in jobs.running(conn)] == ["job_2", "job_1"]


def test_a_job_advances_until_it_is_done(conn: Connection) -> None:
    jobs.insert(conn, JOB)
    jobs.advance(conn, JOB, done=400, last_id=99, finished=False, now="later still")
    assert jobs.running(conn) == [replace(JOB, done=400, last_id=99, updated_at="later still")]
    jobs.advance(conn, JOB, done=500, last_id=120, finished=True, now="later still")
    done = jobs.get(conn, "job_1")
    assert done is not None
    assert (done.state, done.done, done.last_id) == ("done", 500, 120)
    assert not jobs.cancel(conn, "job_1", now=NOW)


def test_a_cancelled_job_stays_so_although_its_last_step_was_under_way(conn: Connection) -> None:
    jobs.insert(conn, JOB)
    assert jobs.cancel(conn, "job_1", now=NOW)
    assert not jobs.cancel(conn, "job_1", now=NOW)
    jobs.advance(conn, JOB, done=500, last_id=120, finished=True, now=LATER)
    found = jobs.get(conn, "job_1")
    assert found is not None
    assert (found.state, found.done) == ("cancelled", 500)
    assert jobs.running(conn) == []


# --- usage ----------------------------------------------------------------------------------------


def test_usage_adds_up_by_key_endpoint_and_day(conn: Connection) -> None:
    row = Usage(requests=2, errors_4xx=1, errors_5xx=0, duration_us=3000, bytes_out=10)
    for day, key, endpoint in (("01", "k1", "GET /a"), ("02", "k1", "GET /a"), ("02", "k2", "GET /b")):
        usage.add(conn, {(f"2026-02-{day}", key, endpoint): row})
    usage.add(conn, {("2026-02-02", "k2", "GET /b"): row})

    def requests(by: str, since: str = "2026-02-01", until: str = "2026-02-28") -> dict[str, int]:
        return {found[by]: found["requests"] for found in usage.summed(conn, since=since, until=until, by=by)}

    assert requests("key") == {"k1": 4, "k2": 4}
    assert requests("endpoint") == {"GET /a": 4, "GET /b": 4}
    assert requests("day") == {"2026-02-01": 2, "2026-02-02": 6}
    assert requests("key", since="2026-02-02") == {"k1": 2, "k2": 4}
    assert requests("key", until="2026-02-01") == {"k1": 2}
    assert requests("key", since="2026-03-01") == {}
    (first,) = usage.summed(conn, since="2026-02-01", until="2026-02-01", by="key")
    assert first == {
        "key": "k1", "requests": 2, "errors_4xx": 1, "errors_5xx": 0, "mean_ms": 1.5, "bytes_out": 10,
    }  # fmt: skip
