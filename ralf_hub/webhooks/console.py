"""The hub's words in a chat: `/ralf status`, `/ralf retry TASK-1`. Reading an order and wording answers; all pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ralf_hub.model import Json, Task
from ralf_hub.texts import cut, one_line

TITLE_LENGTH_MAX: Final = 500
ANSWER_LENGTH_MAX: Final = 1_800
"""Below Discord's 2,000, the shortest of the chats."""
QUEUE_SHOWN: Final = 10
TITLE_SHOWN: Final = 120

HELP: Final = """\
status: how things are
queue: what RALF takes next
task ID: one task
add TITLE: a new task
retry ID: a failed task goes back to the queue
pause CONNECTOR, resume CONNECTOR: hold or let go its deliveries
help: this"""

READING: Final = frozenset({"status", "queue", "task", "help"})
_NEEDS: Final[Mapping[str, str]] = {
    "task": "the task's id",
    "add": "a title",
    "retry": "the task's id",
    "ack": "the task's id",
    "pause": "the connector's name",
    "resume": "the connector's name",
}
VERBS: Final = (*_NEEDS, "status", "queue", "help")


@dataclass(frozen=True, slots=True)
class Order:
    """A command read: what to do and to what. `problem` says in words what is wrong with it."""

    verb: str
    argument: str = ""
    problem: str = ""


def read_order(text: str) -> Order:
    """Return what *text* asks for; an empty one asks for help."""
    verb, _, rest = one_line(text).partition(" ")
    verb, argument = verb.lower() or "help", rest.strip()
    if verb not in VERBS:
        return Order("help", problem=f"There is no command {cut(verb, 40)}.")
    if verb in _NEEDS and not argument:
        return Order(verb, problem=f"{verb} needs {_NEEDS[verb]}.")
    if verb in _NEEDS and verb != "add":
        argument = argument.split(" ")[0]
    return Order(verb, argument[:TITLE_LENGTH_MAX])


# --- wording --------------------------------------------------------------------------------------


def say_status(
    by_status: Mapping[str, int], connectors: Mapping[str, str], deliveries: Mapping[str, int]
) -> str:
    """Word how things are. *connectors* is what is not in order, by name."""
    tasks = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in by_status.items() if n) or "none"
    lines = [f"Tasks: {tasks}"]
    told = ", ".join(f"{deliveries.get(state, 0)} {state}" for state in ("pending", "dead"))
    lines.append(f"Deliveries: {told}")
    wrong = ", ".join(f"{name} {state}" for name, state in sorted(connectors.items()))
    lines.append(f"Connectors: {wrong or 'all in order'}")
    return "\n".join(lines)


def say_queue(ready: Sequence[Task], depth: int) -> str:
    """Word what RALF takes next."""
    if not ready:
        return "Nothing can be taken now." if depth else "The queue is empty."
    lines = [f"{place}. {_line(task)}" for place, task in enumerate(ready[:QUEUE_SHOWN], 1)]
    more = depth - len(lines)
    return "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])])


def say_task(task: Task) -> str:
    """Word one task."""
    facts: list[tuple[str, Json]] = [
        ("Status", task.status.replace("_", " ")),
        ("Priority", task.priority),
        ("Progress", f"{task.progress} %" if task.progress else ""),
        ("Agent", task.assignee),
        ("Feature", task.feature_id),
        ("Error", task.error),
        ("Since", task.updated_at),
    ]
    lines = [f"{task.id}: {one_line(task.title)}"]
    lines += [f"{name}: {cut(one_line(str(value)), 300)}" for name, value in facts if value]
    return "\n".join(lines)


def _line(task: Task) -> str:
    return f"{task.id} ({task.priority}): {cut(one_line(task.title), TITLE_SHOWN)}"
