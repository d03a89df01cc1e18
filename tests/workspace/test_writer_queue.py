"""Surgery on queue.yaml: only the entry changes, whatever the file looks like, and it is read back as meant."""

import subprocess
from dataclasses import replace

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ralf_hub.model import PRIORITIES, TASK_STATUSES
from ralf_hub.workspace.queue import Queue, read_queue
from ralf_hub.workspace.records import QueueItem
from ralf_hub.workspace.surgery_entry import add_entry, set_entry
from ralf_hub.workspace.surgery_queue import QueueText
from ralf_hub.workspace.surgery_text import SurgeryError
from ralf_hub.workspace.wishes import Wish
from tests.workspace.helpers import shared_workspace

NEW = Wish(
    id="TASK-NEW-1",
    title="Made in the hub",
    status="pending",
    priority="high",
    created_at="2026-02-05T01:57:10.123Z",
    updated_at="2026-02-06T01:57:10.123Z",
    creates=True,
)
CHANGED = frozenset({"title", "priority", "status"})


def added(text: str, wish: Wish, default: str) -> str:
    """Return queue.yaml *text* with an entry for *wish*."""
    queue = QueueText(text)
    assert add_entry(queue, wish, default) == (queue.text != text)
    return queue.text


def with_set(text: str, wish: Wish) -> str:
    """Return queue.yaml *text* with the entry of *wish* as it is to be."""
    queue = QueueText(text)
    assert set_entry(queue, wish) == (queue.text != text)
    return queue.text


def entry_status(text: str, task_id: str) -> str | None:
    item = QueueText(text).find(task_id)
    return None if item is None else item.status


# --- files of all families, written as people and scripts write them ------------------------------

WORD = st.text(st.sampled_from("abcXYZ 019:#'\"-é☃|>{}[]&*!%@`,?\\/"), min_size=1, max_size=30).map(
    lambda text: " ".join(text.split()) or "x"
)
COMMENT = st.sampled_from(["# a note", "#", "  # indented: yes", "# - id: NOT-AN-ITEM", "# tasks:"])
IDS = st.integers(1, 99_999).map(lambda number: f"TASK-{number}")


@st.composite
def item_lines(draw: st.DrawFn, name: str, column: int, key: str) -> list[str]:
    """Return one item's fields, each a list of lines already at their column."""
    quote = draw(st.sampled_from(["{}", '"{}"', "'{}'"]))
    pad = " " * column

    def shown(text: str) -> str:
        if quote == '"{}"':
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if quote == "'{}'":
            return "'" + text.replace("'", "''") + "'"
        return text if yaml_plain(text) else "'" + text.replace("'", "''") + "'"

    fields = [
        [f"{pad}title: {shown(draw(WORD))}"],
        [f"{pad}priority: {quote.format(draw(st.sampled_from(['high', 'LOW', 'medium', 'CRITICAL'])))}"],
        [f"{pad}status: {quote.format(draw(st.sampled_from(['pending', 'completed', 'in_progress', 'claimed'])))}"
         + draw(st.sampled_from(["", "  # why"]))],
    ]  # fmt: skip
    more = [
        [f"{pad}priority_score: {draw(st.integers(0, 120)) / 10}"],
        [f"{pad}blockedBy: []"],
        [f"{pad}blockedBy:", f"{pad}- TASK-7", f"{pad}- TASK-8"],
        [f"{pad}notes: |", f"{pad}  first line: not a field", f"{pad}    # no comment", "", f"{pad}  - id: TEXT"],
        [f"{pad}notes: >-", f"{pad}  folded", f"{pad}  text"],
        [f"{pad}roi:", f"{pad}  impact: 8.5", f"{pad}  status: nested"],
        [f"{pad}description: {shown('long ' * 3)}" ],
        [f"{pad}estimated_minutes: 45"],
    ]  # fmt: skip
    chosen = draw(st.lists(st.sampled_from(range(len(more))), unique=True, max_size=4))
    fields += [more[number] for number in chosen if number != 2 or 1 not in chosen]
    fields = draw(st.permutations(fields))
    lines = [f"{pad}{key}: {quote.format(name)}"]
    for field in fields:
        lines += draw(st.sampled_from([[], [], [], [f"{pad}# inside"]])) + field
    return lines


def yaml_plain(text: str) -> bool:
    try:
        return yaml.safe_load(f"k: {text}") == {"k": text}
    except yaml.YAMLError:
        return False


@st.composite
def queues(draw: st.DrawFn) -> str:
    """Return the text of a queue.yaml of one of the families."""
    family = draw(st.sampled_from(["tasks", "queue", "both", "list", "id queue"]))
    key = {"tasks": "id", "queue": "task_id", "both": "task_id", "list": "id", "id queue": "id"}[family]
    indent = draw(st.sampled_from([0, 2, 4]))
    gap = draw(st.sampled_from([1, 1, 1, 3]))
    airy = draw(st.sampled_from([[], [], [""], [""]]))
    names = draw(st.lists(IDS, unique=True, max_size=4 if family != "list" else 3, min_size=family == "list"))
    lines = draw(st.lists(COMMENT, max_size=2))
    if family == "tasks":
        lines += ["schema:", "  version: 1.0.1  # kept", "resource_types:", "- cpu_bound", "- io_bound"]
    section = "tasks" if family == "tasks" else "queue"
    cut = draw(st.integers(0, len(names))) if family == "both" else len(names)
    for number, (title, some) in enumerate([(section, names[:cut]), ("completed", names[cut:])]):
        if number and family != "both":
            break
        if family != "list":
            lines.append(f"{title}:" if some else draw(st.sampled_from([f"{title}:", f"{title}: []"])))
        for name in some:
            column = indent + 1 + gap
            body = draw(item_lines(name, column, key))
            lines += [" " * indent + "-" + " " * gap + body[0][column:], *body[1:], *airy]
        lines += draw(st.lists(COMMENT.filter(lambda text: not text.startswith(" ")), max_size=1))
    if family != "list":
        lines += draw(
            st.sampled_from([[], ["", "metadata:", "  last_updated: now", "  items:", "  - id: X-1"]])
        )
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = newline.join(lines) + draw(st.sampled_from([newline, newline, ""]))
    assume(text.strip())
    return text


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    return Wish(
        id=draw(
            st.sampled_from(
                ["TASK-NEW-1", "n", "1e5", "on", "0012", "2026-02-01", "a.b_c-d", "TASK-1770000000-x"]
            )
        ),
        title=draw(WORD | st.text(max_size=60)) or "x",
        status=draw(st.sampled_from(TASK_STATUSES)),
        priority=draw(st.sampled_from(PRIORITIES)),
        description=draw(WORD),
        type=draw(st.none() | st.just("development") | WORD),
        feature_id=draw(st.none() | st.just("F-012")),
        depends_on=tuple(draw(st.lists(IDS, max_size=2, unique=True))),
        assignee=draw(st.none() | st.just("agent 7: #1")),
        created_at="2026-02-05T01:57:10.123Z",
        updated_at="2026-02-06T01:57:10.123Z",
        creates=True,
        changed=CHANGED,
    )


def without_line(item: QueueItem) -> QueueItem:
    return replace(item, line=0)


def known(queue: Queue) -> dict[str, QueueItem]:
    return {item.id: without_line(item) for item in queue.items}


def inserted(before: str, after: str) -> str:
    """Return the lines that were put into *before* to make *after*; fails where that is not all that happened."""
    grown = len(after) - len(before)
    starts = [0, *(n + 1 for n, character in enumerate(before) if character == "\n"), len(before)]
    for at in starts:
        entry = after[at : at + grown]
        is_between = after.startswith(before[:at]) and after.endswith(before[at:])
        if is_between and entry.lstrip("\r\n").lstrip(" ").startswith("- "):
            return entry
    raise AssertionError("more than an entry changed")


@settings(max_examples=400, deadline=None)
@given(queues(), wishes())
@example("queue: []\n", NEW)
@example("queue:", NEW)
@example("tasks:   # all of them\n", NEW)
@example("tasks: []  # none yet\r\nmetadata: {}\r\n", NEW)
def test_an_entry_is_added_and_every_other_byte_stays(text: str, wish: Wish) -> None:
    before = read_queue(text, "queue.yaml")
    assume(wish.id not in known(before))
    after = added(text, wish, "tasks")
    opened = text.replace(": []", ":", 1) if ": []" in text and len(after) < len(text) + 400 else text
    for start in dict.fromkeys([text, opened, *_openings(text)]):
        try:
            entry = inserted(start, after)
            break
        except AssertionError:
            continue
    else:
        raise AssertionError("more than an entry changed")
    assert wish.id in entry
    assert ("\r\n" in entry) == ("\r\n" in text) or "\n" not in entry
    found = read_queue(after, "queue.yaml")
    assert [p.message for p in found.problems] == [p.message for p in before.problems]
    new = known(found).pop(wish.id)
    assert {name: item for name, item in known(found).items() if name != wish.id} == known(before)
    assert (new.status, new.priority, set(new.depends_on)) == (
        wish.status,
        wish.priority,
        set(wish.depends_on) - {wish.id},
    )
    assert added(after, wish, "tasks") == after, "twice is once"


def _openings(text: str) -> list[str]:
    """Return *text* with each empty list made ready for entries, one at a time."""
    return [text.replace(f"{name}: []", f"{name}:", 1) for name in ("tasks", "queue", "completed")]


@settings(max_examples=400, deadline=None)
@given(queues(), wishes(), st.data())
def test_a_change_touches_the_lines_of_its_entry_only(text: str, wish: Wish, data: st.DataObject) -> None:
    before = read_queue(text, "queue.yaml")
    assume(before.items)
    target = data.draw(st.sampled_from(before.items))
    wish = replace(wish, id=target.id, creates=False)
    after = with_set(text, wish)
    found = read_queue(after, "queue.yaml")
    assert [p.message for p in found.problems] == [p.message for p in before.problems]
    others = {name: item for name, item in known(found).items() if name != target.id}
    assert others == {name: item for name, item in known(before).items() if name != target.id}
    new = next(item for item in found.items if item.id == target.id)
    assert (new.status, new.priority) == (wish.status, wish.priority)
    assert [item.id for item in found.items] == [item.id for item in before.items]
    assert with_set(after, wish) == after
    first, last = _span(before, target, text)
    old, new_lines = text.split("\n"), after.split("\n")
    assert new_lines[:first] == old[:first]
    kept = len(old) - last
    assert new_lines[len(new_lines) - kept :] == old[last:]


@settings(max_examples=200, deadline=None)
@given(queues(), st.lists(wishes(), min_size=2, max_size=4), st.data())
def test_many_changes_at_once_are_the_same_as_one_by_one(
    text: str, several: list[Wish], data: st.DataObject
) -> None:
    """A file is cut once for all that is to be written: nothing of it may be out of place after the first change."""
    known_ids = [item.id for item in read_queue(text, "queue.yaml").items]
    several = [
        replace(wish, id=data.draw(st.sampled_from([*known_ids, f"NEW-{number}"])))
        for number, wish in enumerate(several)
    ]
    queue, one_by_one = QueueText(text), text
    for wish in several:
        try:
            one_by_one = with_set(added(one_by_one, wish, "tasks"), wish)
        except SurgeryError:
            with pytest.raises(SurgeryError):
                add_entry(queue, wish, "tasks")
            continue
        add_entry(queue, wish, "tasks")
        set_entry(queue, wish)
        assert queue.text == one_by_one
    assert queue.text == one_by_one


def test_a_mark_before_the_first_entry_hides_nothing() -> None:
    text = "\ufeff- id: A\n  status: pending\n- id: B\n  status: pending\n"
    done = with_set(text, replace(NEW, id="A", status="completed", changed=frozenset({"status"})))
    assert done.startswith("\ufeff- id: A\n  status: completed\n")
    assert [item.id for item in read_queue(added(done, NEW, "tasks"), "q").items] == ["A", "B", NEW.id]


def _span(queue: Queue, item: QueueItem, text: str) -> tuple[int, int]:
    """Return the lines an entry may take: up to the next one, or the next key in the first column."""
    lines = text.split("\n")
    later = [other.line - 1 for other in queue.items if other.line > item.line]
    keys = [n for n in range(item.line, len(lines)) if lines[n][:1].isalpha() and ":" in lines[n]]
    return item.line - 1, min([*later, *keys, len(lines)])


# --- the ways of RALF's scripts -------------------------------------------------------------------

V2 = """# Task Queue
queue:
  - task_id: TASK-1
    title: First
    priority: critical
    priority_score: 9.0
    status: completed
    completed_at: "2026-02-01T17:00:00Z"
  - task_id: TASK-2
    title: Second
    priority: high
    priority_score: 7.0
    status: pending
    created_at: "2026-02-01T17:00:00Z"
  - task_id: TASK-3
    title: Third
    priority: low
    priority_score: 2.0
    status: pending
    created_at: "2026-02-01T17:00:00Z"
metadata:
  last_updated: "2026-02-01T17:25:00Z"
"""
SELECT = "awk -F': ' '/^  - task_id:/{tid=$2}/^    status: pending/{if(tid){print tid;exit}}'"
"""The line with which RALF's executor chooses what to do next."""


def taken_by_awk(text: str) -> str:
    return subprocess.run(
        ["bash", "-c", SELECT], input=text, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


@pytest.mark.parametrize(
    ("priority", "next_one"), [("critical", "TASK-NEW-1"), ("high", "TASK-2"), ("medium", "TASK-2")]
)
def test_ralfs_own_awk_takes_the_new_task_when_its_turn_comes(priority: str, next_one: str) -> None:
    text = added(V2, replace(NEW, priority=priority), "tasks")
    assert taken_by_awk(text) == next_one
    text = with_set(text, replace(NEW, id="TASK-2", status="completed", changed=frozenset({"status"})))
    assert taken_by_awk(text) == "TASK-NEW-1", "before the less urgent third"
    text = with_set(text, replace(NEW, status="in_progress", changed=frozenset({"status"})))
    assert taken_by_awk(text) == "TASK-3"


def test_quotes_an_odd_id_needs_are_not_copied_to_the_next() -> None:
    """`"on"` must be quoted to mean itself; an id in quotes is one that awk does not find."""
    text = added(V2.replace("TASK-2", '"on"').replace("TASK-1", '"0012"'), NEW, "tasks")
    assert "  - task_id: TASK-NEW-1\n" in text
    text = added(added("tasks:\n", replace(NEW, id="2026-02-01"), "tasks"), NEW, "tasks")
    assert '- id: "2026-02-01"\n  status: pending\n' in text.replace("  type: development\n", "")
    assert "- id: TASK-NEW-1\n" in text


def test_what_is_done_is_written_as_the_stop_hook_writes_it() -> None:
    done = replace(
        NEW,
        id="TASK-2",
        status="completed",
        completed_at="2026-02-09T10:00:00.500Z",
        changed=CHANGED - {"title"},
    )
    assert with_set(V2, done) == V2.replace(
        "    priority_score: 7.0\n    status: pending\n",
        '    priority_score: 7.0\n    status: completed\n    completed_at: "2026-02-09T10:00:00Z"\n',
    )


def test_who_works_on_it_is_written_and_taken_back() -> None:
    started = replace(NEW, id="TASK-2", status="in_progress", assignee="agent-7", started_at="2026-02-09T10:00:00.000Z", changed=frozenset({"status"}))  # fmt: skip
    text = with_set(V2, started)
    assert (
        '    status: in_progress\n    claimed_by: "agent-7"\n    claimed_at: "2026-02-09T10:00:00Z"\n' in text
    )
    back = with_set(text, replace(started, status="pending"))
    assert "    status: pending\n    claimed_by: null\n    claimed_at: null\n" in back
    assert taken_by_awk(back) == "TASK-2"


def test_scores_put_a_task_behind_its_equals_and_before_the_less_urgent() -> None:
    text = "tasks:\n"
    for number, priority in enumerate(["low", "high", "high", "critical", "medium", "high"]):
        text = added(text, replace(NEW, id=f"T-{number}", priority=priority), "tasks")
    scores = {item.id: item.priority_score for item in read_queue(text, "q").items}
    order = sorted(scores, key=lambda name: (-(scores[name] or 0), name))
    assert order == ["T-3", "T-1", "T-2", "T-5", "T-4", "T-0"]


@pytest.mark.parametrize("default", ["tasks", "queue"])
@pytest.mark.parametrize("text", ["", "# Queue\n", "\n\n", "---\n", "# no end"])
def test_an_empty_file_gets_the_list_its_tree_uses(text: str, default: str) -> None:
    after = added(text, NEW, default)
    assert after.startswith(text)
    queue = read_queue(after, "q")
    assert [item.id for item in queue.items] == ["TASK-NEW-1"]
    assert queue.schema == default
    assert queue.key == {"tasks": "id", "queue": "task_id"}[default]


ENGINE = "# planner-owned\nversion: 1\nnext_task: {}  # one at a time\nstatus: ready\n"


def test_the_engines_one_next_task_is_set_where_it_is_free_and_cleared_when_done() -> None:
    text = added(ENGINE.format("null"), NEW, "tasks")
    assert text == ENGINE.format("TASK-NEW-1")
    assert with_set(text, replace(NEW, creates=False, status="completed", changed=CHANGED)) == ENGINE.format(
        "null"
    )
    with pytest.raises(SurgeryError, match="another task"):
        added(ENGINE.format("TASK-2"), NEW, "tasks")
    other = replace(NEW, creates=False, status="completed", changed=CHANGED)
    assert with_set(ENGINE.format("TASK-2"), other) == ENGINE.format("TASK-2")


@pytest.mark.parametrize(
    "text",
    [
        "- agent_type: scout\n  run_id: r1\n  status: pending\n  prompt: x\n",
        "stats: {}\nconfig:\n  - a\n",
        "just words\n",
        "tasks: [{id: A, status: pending}]\n",
        "tasks:\n  first: A\n",
    ],
)
def test_a_file_without_a_place_for_entries_is_refused(text: str) -> None:
    with pytest.raises(SurgeryError, match="no list of tasks"):
        added(text, NEW, "tasks")


def test_an_entry_in_braces_is_refused() -> None:
    text = "tasks:\n- {id: A, status: pending}\n"
    assert entry_status(text, "A") is None
    assert with_set(text, replace(NEW, id="A", changed=CHANGED)) == text


def test_a_file_that_is_not_yaml_is_changed_all_the_same() -> None:
    text = 'queue:\n  - task_id: A\n    notes: "an "inner" quote: x\n    status: pending\n  - task_id: B\n    status: pending\n'
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)
    after = added(text, NEW, "tasks")
    assert "TASK-NEW-1" in inserted(text, after)
    assert (
        entry_status(with_set(text, replace(NEW, id="B", status="completed", changed=CHANGED)), "B")
        == "completed"
    )


@pytest.mark.shared
@pytest.mark.parametrize("tree", ["modern", "flat"])
def test_every_historical_queue_takes_an_entry_and_a_change(tree: str) -> None:
    root = shared_workspace(tree)
    seen = 0
    for path in sorted(root.rglob("queue.yaml*")):
        text = path.read_bytes().decode()
        before = read_queue(text, "q")
        after = added(text, NEW, "tasks")
        inserted(text, after)
        assert {n: i for n, i in known(read_queue(after, "q")).items() if n != NEW.id} == known(before)
        for item in before.items:
            done = with_set(
                text,
                replace(NEW, id=item.id, creates=False, status="completed", changed=frozenset({"status"})),
            )
            found = known(read_queue(done, "q"))
            assert found.pop(item.id).status == "completed"
            assert found == {n: i for n, i in known(before).items() if n != item.id}
            seen += 1
    assert seen > 40 or tree == "flat"
