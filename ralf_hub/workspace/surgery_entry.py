"""What the hub writes into queue.yaml: an entry for a new task in its neighbours' shape, and how a task stands."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ralf_hub.model import (
    COMPLETED,
    IN_PROGRESS,
    PENDING,
    PRIORITY_RANK,
    Json,
)
from ralf_hub.workspace import words
from ralf_hub.workspace.queue import read_queue
from ralf_hub.workspace.surgery_item import IDS, Item, Span, field_value
from ralf_hub.workspace.surgery_queue import QueueText
from ralf_hub.workspace.surgery_text import SurgeryError, like_case, one_line, scalar
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
_READ_BY_AWK: Final = frozenset({*IDS, "status"})
"""Fields that RALF's scripts compare as they stand: quotes around them, as around `"0012"`, are not copied."""
_PLANNED = "the file is the planner's and names another task"


def add_entry(queue: QueueText, wish: Wish, default: str) -> bool:
    """Add an entry for *wish* to *queue*, unless the task has one; returns whether it was added.

    *default* is the list a file without any gets, `tasks` or `queue`. SurgeryError, with nothing changed: there is no
    place for it.
    """
    if (named := _engine(queue, wish)) is not None:
        return named
    if queue.find(wish.id) is not None:
        return False
    section = default if queue.is_blank else queue.target()
    if section is None:
        raise SurgeryError("no list of tasks in it that an entry could go to")
    placed = queue.placed(section)
    lines = _entry(queue, section, [item for _, item in placed], wish)
    _check(section, lines, wish)
    before = _place(placed, wish)
    blank = "" if not queue.is_airy(placed) else "before" if before is None else "after"
    if not placed:
        queue.open(section)
    queue.insert(before, section, lines, blank=blank)
    return True


def set_entry(queue: QueueText, wish: Wish) -> bool:
    """Make the entry of *wish*, if it has one, say how the hub has the task; returns whether it said something else.

    Only what changed is written. SurgeryError, with nothing changed: the entry cannot be changed line by line.
    """
    if (named := _engine(queue, wish)) is not None:
        return named
    item = queue.find(wish.id)
    if item is None:
        return False
    changes: list[tuple[str, str]] = []
    if "title" in wish.changed and item.text("title") != one_line(wish.title):
        changes.append(("title", field_value(one_line(wish.title), item.fields.get("title"))))
    if "priority" in wish.changed and item.priority != wish.priority:
        changes.append(("priority", _value_like(item, "priority", wish.priority)))
        if "priority_score" in item.fields:
            others = [other for _, other in queue.placed(item.section) if other.id != wish.id]
            changes.append(("priority_score", _score(others, wish)))
    if "status" in wish.changed:
        changes += _standing(item, wish)
    if changes:
        queue.change(item, changes)
    return bool(changes)


def _value_like(item: Item, key: str, value: str) -> str:
    old = item.fields.get(key)
    return field_value(like_case(value, item.text(key)), old)


def _standing(item: Item, wish: Wish) -> list[tuple[str, str]]:
    """Return the fields that say how a task stands, as RALF's scripts write them below its status."""
    if item.status == wish.status:
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


def _engine(queue: QueueText, wish: Wish) -> bool | None:
    """Set or clear the one next task of the engine's file; returns whether it changed, None where it is no such file."""
    section = queue.sections.get("next_task")
    if section is None or queue.items:
        return None
    named = words.filled(section.raw)
    is_wanted = wish.status == PENDING and wish.creates
    if named not in {None, wish.id} and is_wanted:
        raise SurgeryError(_PLANNED)
    if named is None and is_wanted:
        section.say(scalar(wish.id, section.raw))
    elif named == wish.id and wish.status != PENDING:
        section.say("null")
    else:
        return False
    return True


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
        like = model.fields.get(key) if model and key not in _READ_BY_AWK else None
        lines += _field_lines(key, value, column, indent, like)
    dash = f"{' ' * indent}-{' ' * (column - indent - 1)}"
    lines[0] = dash + lines[0][column:]
    return lines


def _neighbour(queue: QueueText, items: Sequence[Item]) -> Item | None:
    """Return the entry to write like: the last one that waits, else the last of the list, else of any."""
    usable = [item for item in items if item.fields] or [item for item in queue.items if item.id]
    waiting = (item for item in reversed(usable) if item.status == PENDING)
    return next(waiting, usable[-1] if usable else None)


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
    rank = PRIORITY_RANK[wish.priority]
    known = [
        (PRIORITY_RANK[item.priority], item.score)
        for item in items
        if item.status == PENDING and item.priority is not None and item.score is not None
    ]
    equals = [score for other, score in known if other == rank]
    below = max((score for other, score in known if other > rank), default=0.0)
    above = min((score for other, score in known if other < rank), default=None)
    score = min(equals) - SCORE_STEP if equals else SCORES[wish.priority]
    if above is not None and score >= above:
        score = (above + below) / 2 if above > below else above
    score = max(score, below + SCORE_STEP if above is None or below + SCORE_STEP < above else below)
    return repr(round(score, 2))


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


def _place(placed: Sequence[tuple[int, Item]], wish: Wish) -> int | None:
    """Return the position of the entry that *wish* goes before; None: behind all.

    In a list named by `task_id` RALF takes the first entry that waits, so a task stands behind the last one that is
    as urgent. In the others the score decides, and new entries stand at the end.
    """
    if not placed or "task_id" not in placed[0][1].fields:
        return None
    before: int | None = None
    for position, item in reversed(placed):
        if item.status == PENDING:
            if PRIORITY_RANK[item.priority or "medium"] <= PRIORITY_RANK[wish.priority]:
                break
            before = position
    return before


def _check(section: str, lines: list[str], wish: Wish) -> None:
    """See that the entry is read back as it was meant. SurgeryError where it is not."""
    head = [f"{section}:"] if section else []
    found = read_queue("\n".join([*head, *lines]), "").items
    is_same = len(found) == 1 and (found[0].id, found[0].status) == (wish.id, wish.status)
    if not is_same or words.priority(found[0].priority) != wish.priority:
        raise SurgeryError("an entry in the shape of its neighbours would not be read back as this task")
