"""queue.yaml in all its schemas, and the order in which RALF takes tasks from it."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Final

from ralf_hub.workspace import words
from ralf_hub.workspace.headers import lines_of
from ralf_hub.workspace.loading import UnreadableError, load_yaml, syntax_errors
from ralf_hub.workspace.records import Problem, QueueItem
from ralf_hub.workspace.scalars import clean_text, json_safe, time_iso
from ralf_hub.workspace.values import Fields, record_pieces

SECTIONS: Final = ("tasks", "queue", "completed")
"""The top-level lists whose items are tasks."""
ITEMS_KEPT_MAX: Final = 8_192
"""Items whose parsed fields are kept: the file is read again whenever one of them changes."""

_DEPENDS = ("depends_on", "dependencies", "blocked_by", "blockedBy")
_USED = frozenset({
    *_DEPENDS, "id", "task_id", "title", "status", "priority", "priority_score", "type", "feature_id", "claimed_by",
    "created_at", "added_at",
})  # fmt: skip
_TOP_KEY = re.compile(r"([A-Za-z_][\w-]*):(?:\s|$)")
_DASH = re.compile(r"([ ]*)-(?:[ \t]|$)")


@dataclass(frozen=True, slots=True)
class Queue:
    """What queue.yaml says. `schema` names its family: tasks, queue, engine, list or empty.

    `key` is the field that names an item's task, `task_id` or `id`.
    """

    schema: str
    key: str
    items: tuple[QueueItem, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry as read: `item` (its line is 0), or None and `why`; `line` and the lines of `damage` as yet relative."""

    line: int
    section: str
    item: QueueItem | None
    why: str | None
    blocks: tuple[str, ...]
    has_task_id: bool
    damage: tuple[tuple[int, str], ...] = ()


def read_queue(text: str, file: str, zone: tzinfo = UTC) -> Queue:
    """Return the items of queue.yaml *text*, in file order; what cannot be read is in `problems`.

    Items are parsed one by one, so that a bad one costs only itself, and so that no single call into
    the parser is long: it holds Python's lock.
    """
    problems: list[Problem] = []
    chunks = [chunk for chunk in _chunks(text) if chunk[0] in {"", *SECTIONS}]
    if chunks:
        entries = list(_block_entries(chunks, file, zone, problems))
        if not problems:
            problems += [
                Problem(file, error.line + 1, f"not YAML ({error})")
                for error in syntax_errors(_without_items(text, chunks))
            ]
    else:
        entries = [_entry(*found, zone) for found in _other_entries(text, file, problems)]
    items: dict[str, QueueItem] = {}
    for entry in entries:
        item = entry.item
        if item is None:
            problems += [Problem(file, entry.line, entry.why)] if entry.why else []
        elif item.id in items:
            problems.append(
                Problem(file, entry.line, f"{item.id} stands in the queue twice; the first counts")
            )
        else:
            items[item.id] = replace(item, line=entry.line)
    _apply_blocks(entries, items)
    key = "task_id" if any(entry.has_task_id for entry in entries) else "id"
    return Queue(_schema(entries), key, tuple(items.values()), tuple(problems))


def _schema(entries: Sequence[_Entry]) -> str:
    sections = {entry.section for entry in entries}
    return next(
        (name for name in ("tasks", "queue", "engine", "list") if name in sections),
        "queue" if sections else "empty",
    )


def _block_entries(
    chunks: list[tuple[str, int, str]], file: str, zone: tzinfo, problems: list[Problem]
) -> Iterator[_Entry]:
    """Yield the items of block lists, the way RALF writes them."""
    for section, line, text in chunks:
        try:
            for entry in _entries_in(section or "list", text, zone):
                problems.extend(Problem(file, line + offset, why) for offset, why in entry.damage)
                yield replace(entry, line=line + entry.line)
        except UnreadableError as error:
            problems.append(Problem(file, line + error.line, f"not an item ({error}); left out"))


@lru_cache(maxsize=ITEMS_KEPT_MAX)
def _entries_in(section: str, text: str, zone: tzinfo) -> tuple[_Entry, ...]:
    """Return what stands in the text of one item; one that was read before costs a look-up."""
    return tuple(
        replace(_entry(section, piece.line, piece.fields, zone), damage=piece.damage)
        for piece in record_pieces(text)
    )


def _without_items(text: str, chunks: Sequence[tuple[str, int, str]]) -> str:
    """Return *text* with each item, which is read by itself, made as short as an item can be."""
    lines = lines_of(text)
    for _, line, item in chunks:
        first = lines[line - 1]
        count = item.count("\n")
        lines[line - 1 : line - 1 + count] = [first[: first.index("-")] + "- x", *[""] * (count - 1)]
    return "\n".join(lines)


def _other_entries(text: str, file: str, problems: list[Problem]) -> Iterator[tuple[str, int, Fields]]:
    """Yield section, line and fields of the items of a file without block lists: empty, the engine's, or lists in brackets."""
    try:
        loaded = load_yaml(text)
    except UnreadableError as error:
        problems.append(Problem(file, error.line + 1, f"not YAML ({error}); nothing read"))
        return
    if isinstance(loaded, dict) and isinstance(loaded.get("next_task"), (str, dict)):
        yield "engine", 1, _engine_fields(loaded)
        return
    if not isinstance(loaded, (dict, list)) and loaded is not None:
        problems.append(Problem(file, 1, "neither a mapping nor a list"))
    lists = {"list": loaded} if isinstance(loaded, list) else loaded if isinstance(loaded, dict) else {}
    for section in ("list", *SECTIONS):
        items = lists.get(section)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                yield section, 1, {str(key): value for key, value in item.items()}
            else:
                problems.append(Problem(file, 1, "an item that is no mapping; left out"))


def _engine_fields(loaded: dict[object, object]) -> Fields:
    """Return the engine's queue, which names one next task."""
    named = loaded["next_task"]
    fields: Fields = {str(k): v for k, v in named.items()} if isinstance(named, dict) else {"task_id": named}
    status = words.status(loaded.get("status"))
    fields.setdefault("status", status or "pending")
    if loaded.get("reasoning"):
        fields.setdefault("reasoning", loaded["reasoning"])
    return fields


def _chunks(text: str) -> Iterator[tuple[str, int, str]]:
    """Yield (section, line, text) of every list item below a top-level key, by indentation alone."""
    section, indent = "", -1
    start, held = 0, list[str]()
    for number, line in enumerate(lines_of(text), start=1):
        dash, key = _DASH.match(line), _TOP_KEY.match(line)
        begins = dash is not None and (indent < 0 or len(dash[1]) <= indent)
        if (begins or key) and held:
            yield section, start, _whole(held)
            held = []
        if key:
            section, indent = key[1], -1
        elif begins and dash is not None:
            indent, start, held = len(dash[1]), number, [line]
        elif held:
            held.append(line)
    if held:
        yield section, start, _whole(held)


def _whole(lines: Sequence[str]) -> str:
    """Return the text of an item, the same wherever in the file it stands."""
    return "\n".join(lines).rstrip("\n") + "\n"


def _entry(section: str, line: int, fields: Fields, zone: tzinfo) -> _Entry:
    item = _item(section, fields, zone)
    why = None if item or section == "list" else "an item without a usable id; left out"
    blocks = tuple(words.ids_in([fields.get("blocks")]))
    return _Entry(line, section, item, why, blocks, "task_id" in fields)


def _item(section: str, fields: Fields, zone: tzinfo) -> QueueItem | None:
    name = words.filled(fields.get("task_id") or fields.get("id"))
    if name is None or not words.is_id(name):
        return None
    status_text, priority_text = fields.get("status"), fields.get("priority")
    metadata = {
        key: json_safe(value) for key, value in fields.items() if key not in _USED and value is not None
    }
    metadata.update(
        {k: json_safe(v) for k, v in (("status_text", status_text), ("priority_text", priority_text)) if v}
    )
    metadata["section"] = section
    score = fields.get("priority_score")
    return QueueItem(
        id=name,
        title=clean_text(words.filled(fields.get("title")) or name),
        status=words.status(status_text) or ("completed" if section == "completed" else "pending"),
        priority=words.priority(priority_text) or "medium",
        line=0,
        priority_score=float(score)
        if isinstance(score, (int, float)) and not isinstance(score, bool)
        else None,
        depends_on=tuple(o for o in words.ids_in(fields.get(key) for key in _DEPENDS) if o != name),
        type=words.filled(fields.get("type")),
        feature_id=words.filled(fields.get("feature_id")),
        claimed_by=words.filled(fields.get("claimed_by") or fields.get("claimedBy")),
        created_at=time_iso(fields.get("created_at") or fields.get("added_at"), zone),
        metadata=metadata,
    )


def _apply_blocks(entries: Sequence[_Entry], items: dict[str, QueueItem]) -> None:
    """Turn each `blocks` into the other item's `depends_on`."""
    waits: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        for blocked in entry.blocks:
            if entry.item is not None and blocked in items and blocked != entry.item.id:
                waits[blocked].append(entry.item.id)
    for name, others in waits.items():
        item = items[name]
        items[name] = replace(item, depends_on=tuple(dict.fromkeys([*item.depends_on, *others])))


def taking_order(queue: Queue) -> list[QueueItem]:
    """Return all items in the order RALF's scripts look at them, whatever their status."""
    if queue.key == "id":
        return sorted(queue.items, key=lambda item: (-(item.priority_score or 0.0), item.id))
    return list(queue.items)


def selection_order(queue: Queue, done: Collection[str] = ()) -> tuple[list[QueueItem], list[QueueItem]]:
    """Return the pending items RALF may take, in its order, and those that wait for another task.

    `ralf-task-select.sh --claim` takes the first pending item of a queue keyed by `task_id`: file
    order. It cannot see the items of the `tasks` schema; `bb5-queue next` takes those by falling
    `priority_score`, ties by id. A dependency counts as met when its item is completed or its id is in
    *done* (tasks completed in the folders).
    """
    met = {item.id for item in queue.items if item.status == "completed"} | set(done)
    pending = [item for item in taking_order(queue) if item.status == "pending" and item.id not in set(done)]
    ready = [item for item in pending if met.issuperset(item.depends_on)]
    return ready, [item for item in pending if not met.issuperset(item.depends_on)]
