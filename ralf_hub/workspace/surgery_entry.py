"""What the hub writes into queue.yaml: an entry for a new task in its neighbours' shape, and how a task stands."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from ralf_hub.model import (
    COMPLETED,
    IN_PROGRESS,
    PENDING,
    PRIORITIES,
    PRIORITY_RANK,
    Json,
)
from ralf_hub.workspace import words
from ralf_hub.workspace.queue import read_queue
from ralf_hub.workspace.surgery_queue import IDS, Item, QueueText, Span, field_value
from ralf_hub.workspace.surgery_text import (
    SurgeryError,
    bare,
    end_of,
    like_case,
    one_line,
    scalar,
    split_value,
)
from ralf_hub.workspace.wishes import Wish, seconds

SCORES: Final[Mapping[str, float]] = {"critical": 12.0, "high": 8.0, "medium": 5.0, "low": 3.0}
"""The score of a task without neighbours of its priority, about the middle of what RALF's planner gives."""
SCORE_STEP: Final = 0.01
NOTES_CHARACTERS_MAX: Final = 500
LIST_MAX: Final = 50
HUB: Final = "ralf-hub"

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "tasks": (
        "id", "type", "status", "priority", "priority_score", "title", "estimated_minutes", "blockedBy", "blocks", "goal",
    ),
    "queue": (
        "task_id", "feature_id", "title", "priority", "priority_score", "estimated_minutes", "status", "created_at", "notes",
    ),
}  # fmt: skip
"""The fields of an entry in a list that has none yet, in RALF's order."""
_INDENT: Final = {"tasks": 0, "queue": 2}
_DEPENDS: Final = {"tasks": "blockedBy"}
_DEPENDS_KEYS: Final = frozenset({"blockedBy", "blocked_by", "depends_on", "dependencies"})
_NOTES: Final = frozenset({"notes", "approach", "description", "prompt"})
_OWN_METADATA: Final = (
    "goal", "resource_type", "parallel_group", "context_level", "estimated_lines", "files_to_modify",
    "acceptance_criteria", "improvement", "roi",
)  # fmt: skip
"""Fields that a caller may give as metadata; an entry has them where its neighbours do."""
_PLANNED = "the file is the planner's and names another task"


def add_entry(text: str, wish: Wish, default: str) -> str:
    """Return queue.yaml *text* with an entry for *wish*; the same text where the task has one.

    *default* is the list a file without any gets, `tasks` or `queue`. SurgeryError: there is no place for it.
    """
    if "next_task:" in text and (named := _engine(text, wish)) is not None:
        return named
    queue = QueueText(text)
    if queue.find(wish.id) is not None:
        return text
    if queue.is_blank:
        queue = QueueText(queue.insert(len(queue.lines), [f"{default}:"]))
        if not queue.text.endswith("\n"):
            queue = QueueText(queue.text + queue.newline)
    section = queue.target()
    if section is None:
        raise SurgeryError("no list of tasks in it that an entry could go to")
    items = queue.of(section)
    if not items:
        queue = queue.opened(section)
    before = _place(items, wish)
    lines = _entry(queue, section, items, wish)
    _check(section, lines, wish)
    behind = items[-1].end if items else queue.after_head(section)
    if _is_airy(queue, items):
        lines = ["", *lines] if before is None else [*lines, ""]
    return queue.insert(behind if before is None else before.start, lines)


def set_entry(text: str, wish: Wish) -> str:
    """Return queue.yaml *text* with the entry of *wish* as the hub has the task; the same where it has none.

    Only what changed is written. SurgeryError: the entry cannot be changed line by line.
    """
    if "next_task:" in text and (named := _engine(text, wish)) is not None:
        return named
    queue = QueueText(text)
    item = queue.find(wish.id)
    if item is None:
        return text
    changes: list[tuple[str, str]] = []
    if "title" in wish.changed and item.text("title") != one_line(wish.title):
        changes.append(("title", field_value(one_line(wish.title), item.fields.get("title"))))
    if "priority" in wish.changed and words.priority(item.text("priority")) != wish.priority:
        changes.append(("priority", _value_like(item, "priority", wish.priority)))
        if "priority_score" in item.fields:
            others = [other for other in queue.of(item.section) if other.id != wish.id]
            changes.append(("priority_score", _score(others, wish)))
    if "status" in wish.changed:
        changes += _standing(item, wish)
    return queue.changed(item, changes) if changes else text


def entry_status(text: str, task_id: str) -> str | None:
    """Return how the entry of a task stands, in the hub's words; None where it has no entry."""
    item = QueueText(text).find(task_id)
    return None if item is None else words.status(item.text("status")) or PENDING


def _value_like(item: Item, key: str, value: str) -> str:
    old = item.fields.get(key)
    return field_value(like_case(value, item.text(key)), old)


def _standing(item: Item, wish: Wish) -> list[tuple[str, str]]:
    """Return the fields that say how a task stands, as RALF's scripts write them below its status."""
    if words.status(item.text("status")) == wish.status:
        return []
    times: dict[str, list[tuple[str, str | None]]] = {
        IN_PROGRESS: [("claimed_by", wish.assignee or HUB), ("claimed_at", wish.started_at or wish.updated_at)],
        COMPLETED: [("completed_at", wish.completed_at or wish.updated_at), ("completed_by", wish.assignee or HUB)],
    }  # fmt: skip
    if item.fields.keys() & {"task_id"}:
        times[COMPLETED].pop()  # the stop hook notes the time alone
    changes = [("status", _value_like(item, "status", wish.status))]
    for key, value in times.get(wish.status, []):
        shown = seconds(value or "") if key.endswith("_at") else one_line(value or "")
        changes.append((key, scalar(shown, item.fields[key].raw if key in item.fields else '"')))
    if wish.status == PENDING:
        changes += [
            (key, "null") for key in ("claimed_by", "claimed_at") if item.text(key) not in {"", "null"}
        ]
    return changes


def _engine(text: str, wish: Wish) -> str | None:
    """Return the engine's file with its one next task set or cleared; None where it is no such file."""
    queue = QueueText(text)
    section = queue.sections.get("next_task")
    if section is None or queue.items:
        return None
    named = words.filled(section.raw)
    line = queue.lines[section.line]
    head, _, tail = bare(line).partition(":")
    rest = split_value(tail.lstrip())[1] + end_of(line)
    is_open = wish.status == PENDING
    if named is None and is_open and wish.creates:
        queue.lines[section.line] = f"{head}: {scalar(wish.id, section.raw)}{rest}"
    elif named == wish.id and not is_open:
        queue.lines[section.line] = f"{head}: null{rest}"
    elif named not in {None, wish.id} and is_open and wish.creates:
        raise SurgeryError(_PLANNED)
    return "".join(queue.lines)


# --- a new entry ----------------------------------------------------------------------------------


def _entry(queue: QueueText, section: str, items: Sequence[Item], wish: Wish) -> list[str]:
    """Return the lines of an entry for *wish*, without their ends."""
    model = _neighbour(queue, items)
    indent = model.indent if model else _INDENT.get(section, 0)
    column = model.column if model else indent + 2
    keys = list(model.fields) if model else list(_KEYS.get(section, _KEYS["queue"]))
    keys = _complete(keys, section, wish)
    lines: list[str] = []
    for key in keys:
        value = _value(key, wish, items)
        if value is None:
            continue
        like = model.fields.get(key) if model else None
        lines += _field_lines(key, value, column, indent, like)
    dash = f"{' ' * indent}-{' ' * (column - indent - 1)}"
    lines[0] = dash + lines[0][column:]
    return lines


def _neighbour(queue: QueueText, items: Sequence[Item]) -> Item | None:
    """Return the entry to write like: the last one that waits, else the last of the list, else of any."""
    waiting = [item for item in items if words.status(item.text("status")) == PENDING and item.fields]
    usable = [item for item in items if item.fields] or [item for item in queue.items if item.id]
    found = waiting or usable
    return found[-1] if found else None


def _complete(keys: list[str], section: str, wish: Wish) -> list[str]:
    """Return *keys* with the ones no entry may lack, its id first."""
    name = next((key for key in IDS if key in keys), "task_id" if section == "queue" else "id")
    rest = [key for key in keys if key not in IDS]
    rest += [key for key in ("title", "priority", "status") if key not in rest]
    if wish.depends_on and not _DEPENDS_KEYS & set(rest):
        rest.append(_DEPENDS.get(section, "dependencies"))
    return [name, *rest]


def _value(key: str, wish: Wish, items: Sequence[Item]) -> Json:
    """Return what an entry says in field *key*; None leaves it out."""
    simple: dict[str, Callable[[], Json]] = {
        "task_id": lambda: wish.id,
        "id": lambda: wish.id,
        "title": lambda: one_line(wish.title),
        "status": lambda: wish.status,
        "type": lambda: wish.type and one_line(wish.type),
        "feature_id": lambda: wish.feature_id and one_line(wish.feature_id),
        "priority": lambda: like_case(wish.priority, items[-1].text("priority") if items else ""),
        "created_at": lambda: seconds(wish.created_at),
        "added_at": lambda: seconds(wish.created_at),
        "estimated_minutes": lambda: _minutes(wish),
        "blocks": list,
    }
    if key in simple:
        return simple[key]() or ([] if key == "blocks" else None)
    if key == "priority_score":
        return float(_score(items, wish))
    if key in _DEPENDS_KEYS:
        return list(wish.depends_on)
    if key in _NOTES:
        return one_line(wish.description)[:NOTES_CHARACTERS_MAX] or None
    given = wish.metadata.get(key) if key in _OWN_METADATA else None
    if isinstance(given, list):
        return [one_line(str(one)) for one in given[:LIST_MAX]]
    return (
        one_line(given)[:NOTES_CHARACTERS_MAX]
        if isinstance(given, str)
        else given
        if isinstance(given, int)
        else None
    )


def _minutes(wish: Wish) -> int | None:
    for key in ("estimated_minutes", "estimate_minutes", "estimate", "estimated_effort"):
        found = words.estimate_minutes(wish.metadata.get(key))
        if found:
            return found
    return None


def _score(items: Sequence[Item], wish: Wish) -> str:
    """Return a score that puts *wish* behind its equals and before what is less urgent."""
    given = wish.metadata.get("priority_score")
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return repr(float(given))
    waiting = [(words.priority(item.text("priority")), _number(item.text("priority_score"))) for item in items
               if words.status(item.text("status")) == PENDING]  # fmt: skip
    rank = PRIORITY_RANK[wish.priority]
    known = [
        (PRIORITY_RANK[name], score) for name, score in waiting if name in PRIORITIES and score is not None
    ]
    equals = [score for other, score in known if other == rank]
    below = max((score for other, score in known if other > rank), default=0.0)
    above = min((score for other, score in known if other < rank), default=None)
    score = min(equals) - SCORE_STEP if equals else SCORES[wish.priority]
    if above is not None and score >= above:
        score = (above + below) / 2 if above > below else above
    score = max(score, below + SCORE_STEP if above is None or below + SCORE_STEP < above else below)
    return repr(round(score, 2))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _field_lines(key: str, value: Json, column: int, indent: int, like: Span | None) -> list[str]:
    head = f"{' ' * column}{key}:"
    if isinstance(value, list):
        if not value:
            return [f"{head} []"]
        dash = " " * (column if indent == 0 else column + 2)
        return [head, *(f"{dash}- {scalar(str(one))}" for one in value)]
    if isinstance(value, str):
        return [f"{head} {field_value(value, like)}"]
    return [f"{head} {value}"]


def _place(items: Sequence[Item], wish: Wish) -> Item | None:
    """Return the entry that *wish* goes before; None: behind all.

    In a list named by `task_id` RALF takes the first entry that waits, so a task stands behind the last one that is
    as urgent. In the others the score decides, and new entries stand at the end.
    """
    if not items or "task_id" not in items[0].fields:
        return None
    waiting = [item for item in items if words.status(item.text("status")) == PENDING]
    rank = PRIORITY_RANK[wish.priority]
    less = [i for i in waiting if PRIORITY_RANK[words.priority(i.text("priority")) or "medium"] > rank]
    as_urgent = [item for item in waiting if item not in less]
    last = as_urgent[-1].start if as_urgent else -1
    return next((item for item in less if item.start > last), None)


def _is_airy(queue: QueueText, items: Sequence[Item]) -> bool:
    """Return whether a blank line stands between entries."""
    pairs = list(pairwise(items))
    return bool(pairs) and all(
        not "".join(queue.lines[a.end : b.start]).strip() and a.end < b.start for a, b in pairs
    )


def _check(section: str, lines: list[str], wish: Wish) -> None:
    """See that the entry is read back as it was meant. SurgeryError where it is not."""
    head = [f"{section}:"] if section else []
    found = read_queue("\n".join([*head, *lines]), "").items
    is_same = len(found) == 1 and (found[0].id, found[0].status) == (wish.id, wish.status)
    if not is_same or words.priority(found[0].priority) != wish.priority:
        raise SurgeryError("an entry in the shape of its neighbours would not be read back as this task")
