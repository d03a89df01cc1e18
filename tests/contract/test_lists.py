"""Contract 3, lists: pages, cursors, filters, parameters nobody knows."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.box import Box, Ground

pytestmark = pytest.mark.journey

N = 23
NOUNS = ("tasks", "features", "deliveries", "events", "keys", "connectors", "webhooks")


@pytest.fixture(scope="module")
def full(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A hub with N of everything there are lists of."""
    consoles = "\n".join(
        f'[connectors.c{n:02}]\ntype = "console"\nevents = ["task_created"]' for n in range(N)
    )
    settings = f'{consoles}\n[[webhooks.incoming]]\nservice = "github"\nsecret = "a-secret-of-github"\n'
    made = Box.start(ground, tmp_path_factory.mktemp("full"), settings)
    for n in range(N):
        made.task(f"task {n}", priority=("high", "low")[n % 2], feature_id=f"F-{n:02}")
        made.key("tasks:read")
        made.post("/webhooks/github", {"n": n}, key=None)  # unsigned: rejected, and kept as that
    yield made
    made.close()


def walk(box: Box, noun: str, query: str = "", limit: int = 5) -> list[Any]:
    items: list[Any] = []
    path, cursor = f"/{noun}?limit={limit}{query}", ""
    while True:
        reply = box.get(path + cursor)
        assert reply.status == 200, reply.body
        page = reply.json
        assert {noun, "total", "next_cursor"} <= set(page)
        assert len(page[noun]) <= limit
        items += page[noun]
        if page["next_cursor"] is None:
            assert page["total"] == len(items)
            return items
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize("noun", NOUNS)
def test_pages_are_the_whole_once(full: Box, noun: str) -> None:
    names = [item.get("id") or item.get("name") for item in walk(full, noun)]
    assert len(names) >= N
    assert len(set(names)) == len(names)
    assert names == [item.get("id") or item.get("name") for item in full.get(f"/{noun}?limit=200").json[noun]]


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("limit", ["0", "201", "-1", "abc", "", "1.5", "1&limit=2", "%00"])
def test_limits_that_are_none(full: Box, noun: str, limit: str) -> None:
    reply = full.get(f"/{noun}?limit={limit}")
    assert (reply.status, reply.code) == (400, "invalid_parameter")
    assert reply.fields == {"limit"}


@pytest.mark.parametrize("noun", NOUNS)
def test_cursors_that_are_none(full: Box, noun: str) -> None:
    mine = full.get(f"/{noun}?limit=1").json["next_cursor"]
    assert mine
    odd = ["abc", "", "%00", "W10", base64.urlsafe_b64encode(b'["x"]').decode(), "A" * 5000, mine[:-2] + "!!"]
    odd += [full.get(f"/{other}?limit=1").json["next_cursor"] for other in NOUNS if other != noun]
    for cursor in odd:
        reply = full.get(f"/{noun}?cursor={cursor}")
        assert reply.status == 400, (cursor, reply.body)
        assert reply.code in {"invalid_cursor", "invalid_parameter"}


@pytest.mark.parametrize("noun", [*NOUNS, "queue", "metrics", "usage", "workspace"])
def test_parameters_nobody_knows_are_all_named(full: Box, noun: str) -> None:
    reply = full.get(f"/{noun}?colour=red&shape=round")
    assert (reply.status, reply.code, reply.fields) == (400, "invalid_parameter", {"colour", "shape"})


@pytest.mark.parametrize(
    "query",
    ["tasks?status=done", "tasks?status=", "tasks?priority=P0", "tasks?status=pending&status=failed", "deliveries?state=gone",
     "webhooks?status=lost", "events?after=-1", "events?after=x", "events?wait=-1", "events?wait=1e9", "events?wait=nan",
     "usage?by=colour", "usage?from=yesterday", "usage?to=2026-13-01", "usage?from=2026-02-02&to=2026-02-01"],
)  # fmt: skip
def test_filters_that_are_none(full: Box, query: str) -> None:
    reply = full.get(f"/{query}")
    assert (reply.status, reply.code) == (400, "invalid_parameter")


def test_filters_alone_and_together(full: Box) -> None:
    high = walk(full, "tasks", "&priority=high")
    assert {task["priority"] for task in high} == {"high"}
    assert len(high) == N - N // 2
    assert [
        t["title"] for t in walk(full, "tasks", "&priority=high&feature_id=F-02&status=pending&q=ASK%202")
    ] == ["task 2"]
    assert walk(full, "tasks", "&priority=high&feature_id=F-01") == []
    assert walk(full, "tasks", "&q=%25") == []
    assert {d["connector"] for d in walk(full, "deliveries", "&connector=c00")} == {"c00"}
    task_id = high[0]["id"]
    assert len(walk(full, "deliveries", f"&task_id={task_id}&connector=c00")) == 1
    assert {event["task_id"] for event in walk(full, "events", f"&task_id={task_id}")} == {task_id}
    types = {event["type"] for event in walk(full, "events", "&type=task_created,feature_created")}
    assert types == {"task_created", "feature_created"}
    assert walk(full, "webhooks", "&service=github&status=accepted") == []
    assert len(walk(full, "webhooks", "&service=github&status=rejected")) == N


def test_pages_stay_right_while_others_write(full: Box) -> None:
    known = {task["id"] for task in walk(full, "tasks", limit=200)}
    first = full.get("/tasks?limit=10").json
    for n in range(5):
        full.task(f"meanwhile {n}")
    second = full.get(f"/tasks?limit=200&cursor={first['next_cursor']}").json
    seen = [task["id"] for task in first["tasks"] + second["tasks"]]
    assert len(seen) == len(set(seen))
    assert set(seen) == known
