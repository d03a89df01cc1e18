import pytest

from ralf_hub.workspace.queue import read_queue, selection_order

V2 = """queue:
  - task_id: TASK-1
    feature_id: F-009
    title: "Fix: it"
    priority: P1
    priority_score: 4.0
    estimated_minutes: 45
    status: pending
    created_at: "2026-02-01T17:00:00Z"
    notes: "- task_id: TASK-NOT"
  - task_id: TASK-2
    title: Second
    priority: medium-high
    priority_score: 9.0
    status: pending
completed:
  - task_id: TASK-0
    title: Done
metadata:
  notes: |
    - task_id: TASK-NOT
"""

V3 = """schema:
  version: 1.0.1
resource_types:
- cpu_bound
tasks:
- id: TASK-A
  status: completed
  priority: HIGH
  priority_score: 8.5
  title: A
  blockedBy: []
  blocks:
  - TASK-D
- id: TASK-B
  status: pending
  priority: LOW
  priority_score: 3.0
  title: B
  blockedBy: []
- id: TASK-C
  status: pending
  priority: CRITICAL
  priority_score: 13.0
  title: C
  blockedBy: [TASK-B]
- id: TASK-D
  status: pending
  priority: MEDIUM
  priority_score: 5
  title: D
  roi: {impact: 5}
- id: TASK-BB
  status: claimed
  priority: MEDIUM
  priority_score: 99
  claimed_by: agent-1
# NOTE: derived
queue_metadata:
  derived: true
"""


def ids(items):
    return [item.id for item in items]


def test_the_queue_schema():
    queue = read_queue(V2, "queue.yaml")
    assert (queue.schema, queue.key, ids(queue.items), queue.problems) == (
        "queue",
        "task_id",
        ["TASK-1", "TASK-2", "TASK-0"],
        (),
    )
    first, second, done = queue.items
    assert (first.title, first.priority, first.status, first.feature_id, first.line) == (
        "Fix: it",
        "high",
        "pending",
        "F-009",
        2,
    )
    assert (first.created_at, first.metadata["estimated_minutes"]) == ("2026-02-01T17:00:00.000Z", 45)
    assert (second.priority, second.metadata["priority_text"], done.status) == (
        "high",
        "medium-high",
        "completed",
    )


def test_the_first_queue_schema_with_int_and_text_ids():
    text = (
        "queue:\n- id: TASK-7\n  type: fix\n  title: T\n  priority: low\n  dependencies: [TASK-6]\n  added_at: 2026-02-01\n"
        "  status: pending\n- id: 12\n  title: twelve\n"
    )
    queue = read_queue(text, "queue.yaml")
    assert (queue.key, ids(queue.items)) == ("id", ["TASK-7", "12"])
    assert (queue.items[0].depends_on, queue.items[0].created_at) == (("TASK-6",), "2026-02-01T00:00:00.000Z")


def test_the_tasks_schema():
    queue = read_queue(V3, "queue.yaml")
    assert (queue.schema, queue.key, queue.problems) == ("tasks", "id", ())
    by_id = {item.id: item for item in queue.items}
    assert by_id["TASK-C"].depends_on == ("TASK-B",)
    assert by_id["TASK-D"].depends_on == ("TASK-A",)
    assert (by_id["TASK-BB"].status, by_id["TASK-BB"].claimed_by) == ("in_progress", "agent-1")
    assert by_id["TASK-D"].metadata["roi"] == {"impact": 5}


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ("next_task: TASK-9\nstatus: ready\nreasoning: because\nheartbeat: null\n", "engine", ["TASK-9"]),
        ("next_task: null\nstatus: idle\n", "empty", []),
        ("next_task: {task_id: TASK-9, title: T}\n", "engine", ["TASK-9"]),
        (
            "- agent_type: scout\n  run_id: r\n  status: pending\n- task_id: TASK-8\n  status: pending\n",
            "list",
            ["TASK-8"],
        ),
        ("queue: []\nmetadata: {}\n", "empty", []),
        ("queue: [{task_id: TASK-5, status: pending}]\n", "queue", ["TASK-5"]),
        ('{"tasks": [{"id": "TASK-5"}]}', "tasks", ["TASK-5"]),
        ("queue:\nstats: {}\nconfig:\n  a: 1\n", "empty", []),
        ("", "empty", []),
        ("# nothing\n", "empty", []),
        ("queue: nothing\n", "empty", []),
        ("metadata:\n  a: 1\nqueue:\n  - task_id: TASK-1\n", "queue", ["TASK-1"]),
        ("queue:\r\n  - task_id: TASK-1\r\n    status: pending\r\n", "queue", ["TASK-1"]),
    ],
)
def test_every_other_schema(text, schema, expected):
    queue = read_queue(text, "queue.yaml")
    assert (queue.schema, ids(queue.items), queue.problems) == (schema, expected, ())


def test_a_bad_item_costs_only_itself():
    text = V2.replace('"Fix: it"', "Fix: it: now").replace("title: Second", 'title: "Second "quoted" one"')
    queue = read_queue(text, "queue.yaml")
    assert [item.title for item in queue.items] == ["Fix: it: now", 'Second "quoted" one', "Done"]
    assert [problem.line for problem in queue.problems] == [4, 12]


def test_what_is_no_item_is_reported():
    queue = read_queue(
        "queue:\n  - just text\n  - title: no id\n  - task_id: ../x\n  - task_id: TASK-1\n", "queue.yaml"
    )
    assert ids(queue.items) == ["TASK-1"]
    assert [problem.line for problem in queue.problems] == [2, 3, 4]


def test_damage_outside_the_items_is_reported_once():
    queue = read_queue(V2 + "broken: [never closed\n", "queue.yaml")
    assert (len(queue.items), len(queue.problems)) == (3, 1)
    queue = read_queue("just: [broken\n", "queue.yaml")
    assert (queue.items, len(queue.problems)) == ((), 1)
    assert len(read_queue("plain text", "queue.yaml").problems) == 1


def test_an_item_in_brackets_that_is_none_is_reported():
    queue = read_queue("queue: [text, {task_id: TASK-1}]\n", "queue.yaml")
    assert (ids(queue.items), [problem.line for problem in queue.problems]) == (["TASK-1"], [1])


def test_the_same_task_twice_counts_once():
    queue = read_queue("queue:\n- task_id: T-1\n  title: a\n- task_id: T-1\n  title: b\n", "queue.yaml")
    assert [item.title for item in queue.items] == ["a"]
    assert [problem.line for problem in queue.problems] == [4]


def test_order_by_file_where_ralfs_script_takes_the_first():
    ready, blocked = selection_order(read_queue(V2, "queue.yaml"))
    assert (ids(ready), ids(blocked)) == (["TASK-1", "TASK-2"], [])


def test_order_by_score_where_it_takes_the_best():
    queue = read_queue(V3, "queue.yaml")
    ready, blocked = selection_order(queue)
    assert (ids(ready), ids(blocked)) == (["TASK-D", "TASK-B"], ["TASK-C"])
    ready, blocked = selection_order(queue, done={"TASK-B"})
    assert (ids(ready), ids(blocked)) == (["TASK-C", "TASK-D"], [])


def test_equal_scores_go_by_id_and_none_last():
    text = "tasks:\n- id: T-B\n  priority_score: 5\n- id: T-A\n  priority_score: 5.0\n- id: T-0\n- id: T-C\n  priority_score: high\n"
    assert ids(selection_order(read_queue(text, "queue.yaml"))[0]) == ["T-A", "T-B", "T-0", "T-C"]


def test_a_circle_of_dependencies_is_blocked_not_endless():
    text = "tasks:\n- id: T-A\n  blockedBy: [T-B]\n- id: T-B\n  blockedBy: [T-A]\n- id: T-C\n  blockedBy: [T-C]\n"
    ready, blocked = selection_order(read_queue(text, "queue.yaml"))
    assert (ids(ready), ids(blocked)) == (["T-C"], ["T-A", "T-B"])


def test_damage_is_found_where_it_stands_though_items_are_read_by_themselves():
    text = (
        "queue:\n- id: A\n  title: 'x'\n  status: pending\n\n- id: B\n  status: pending\nmetadata: {a: [}\n"
    )
    queue = read_queue(text, "q")
    assert [(item.id, item.line) for item in queue.items] == [("A", 2), ("B", 6)]
    assert [problem.line for problem in queue.problems] == [8]
    shifted = read_queue("# one more line\n" + text, "q")
    assert [(item.id, item.line) for item in shifted.items] == [("A", 3), ("B", 7)], (
        "known items, other lines"
    )
    assert [problem.line for problem in shifted.problems] == [9]


def test_a_dash_further_left_is_damage_as_it_is_to_yaml():
    text = "queue:\n  - id: A\n    status: pending\n - id: B\n"
    assert [item.id for item in read_queue(text, "q").items] == ["A", "B"]
    assert len(read_queue(text, "q").problems) == 1
