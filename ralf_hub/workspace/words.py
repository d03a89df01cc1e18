"""Free text in RALF's files to the hub's words: priorities, statuses, estimates, ids."""

import re
from collections.abc import Iterable
from typing import Final

from ralf_hub.model import PRIORITIES, PRIORITY_RANK, TASK_ID_PATTERN

MINUTES: Final = {"minute": 1, "min": 1, "hour": 60, "hr": 60, "h": 60, "day": 480, "week": 2400}
"""Minutes of work: a day has eight hours, a week five days."""

WORDS_CHARACTERS_MAX: Final = 200
"""How much of a text is looked at for a priority, a status, an estimate."""

_PRIORITY_WORDS: Final = {
    **{name: name for name in PRIORITIES},
    "p0": "critical", "p1": "high", "p2": "medium", "p3": "low", "p4": "low",
    "urgent": "critical", "blocker": "critical", "important": "high",
    "normal": "medium", "moderate": "medium", "minor": "low", "trivial": "low",
}  # fmt: skip
_STATUS_NAMES: Final = {
    "pending": "pending open todo planned queued new ready draft backlog",
    "in_progress": "in_progress active claimed started executing working partial review",
    "blocked": "blocked waiting on_hold",
    "completed": "completed complete done success implemented delivered closed finished",
    "failed": "failed error",
    "cancelled": "cancelled canceled skipped duplicate obsolete superseded abandoned",
}
_STATUS_WORDS: Final = {word: name for name, text in _STATUS_NAMES.items() for word in text.split()}

_WORD = re.compile(r"[a-z]+[0-9]?")
_STATUS_START = re.compile(r"[^a-z]*(in[ _-]progress|on[ _-]hold|[a-z]+)")
_ESTIMATE = re.compile(r"~?(\d+(?:\.\d+)?)(?:\s*(?:-|\u2013|to)\s*(\d+(?:\.\d+)?))?\s*([a-z]+)")
_QUOTES: Final = "`\"'"
_DIGITS_ONLY = re.compile(r"~?(\d+(?:\.\d+)?)")
_TASK_ID = re.compile(TASK_ID_PATTERN)
_ID_IN_TEXT = re.compile(r"(?<![\w-])(?:SUBTASK|TASK|RALF|IMP|FG)-[A-Za-z0-9][\w-]*")
_UNFILLED = re.compile(
    r"FILL_ME.*|TBD|N/?A|\[.*\]|<.*>|\{.*\}|\$\{?\w+\}?|none|null|unknown|YYYY.*", re.IGNORECASE
)
_UNIX_NAMED = re.compile(r"((?:[A-Z]+-)*[A-Z]+[-_]\d{9,14})-.+")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")


def priority(text: object) -> str | None:
    """Return the priority *text* speaks of, or None: `HIGH (Score: 8.0)`, `P1`, `medium-high`.

    Of a range the higher end counts; a list of choices (`critical | high | medium | low`) is a
    template that nobody filled in.
    """
    if not isinstance(text, str) or _is_choice(text):
        return None
    words = _WORD.findall(text[:WORDS_CHARACTERS_MAX].lower().split("(")[0])
    found = [_PRIORITY_WORDS[word] for word in words if word in _PRIORITY_WORDS]
    return min(found, key=PRIORITY_RANK.__getitem__) if found else None


def status(text: object) -> str | None:
    """Return the status *text* begins with, or None: `completed ✅`, `COMPLETE - NO ACTION NEEDED`."""
    if not isinstance(text, str) or _is_choice(text):
        return None
    found = _STATUS_START.match(text[:WORDS_CHARACTERS_MAX].lower())
    return _STATUS_WORDS.get(re.sub(r"[ -]", "_", found[1])) if found else None


def _is_choice(text: str) -> bool:
    """Return whether *text* lists what could be written there: `implement | fix | refactor`."""
    return text.count("|") > 1


def estimate_minutes(text: object) -> int | None:
    """Return the minutes *text* estimates, the middle of a range: `4-5 hours` is 270. A bare number is minutes."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return round(text) if 0 < text < 10**6 else None
    if not isinstance(text, str):
        return None
    text = text[:WORDS_CHARACTERS_MAX].lower().strip()
    for low, high, unit in _ESTIMATE.findall(text):
        minutes = MINUTES.get(unit.removesuffix("s"))
        if minutes is not None:
            return round((float(low) + float(high or low)) / 2 * minutes)
    bare = _DIGITS_ONLY.fullmatch(text)
    return round(float(bare[1])) if bare else None


def filled(text: object) -> str | None:
    """Return *text* without its quotes and backticks, or None where a template was not filled in."""
    if text is None or isinstance(text, (dict, list)):
        return None
    stripped = str(text).strip().strip(_QUOTES).strip()
    return None if not stripped or _is_choice(stripped) or _UNFILLED.fullmatch(stripped) else stripped


def unquoted(text: str) -> str:
    """Return *text* without the quotes or backticks around all of it; those of a word in it stay."""
    shown = text.strip()
    while len(shown) > 1 and shown[0] == shown[-1] and shown[0] in _QUOTES and shown[0] not in shown[1:-1]:
        shown = shown[1:-1].strip()
    return shown


def title(text: str) -> str | None:
    """Return the title in *text*, or None where a template was not filled in."""
    return unquoted(text) if filled(text) is not None else None


def is_id(text: str) -> bool:
    """Return whether *text* can be the id of a task."""
    return _TASK_ID.match(text) is not None and not text.endswith("\n")


def id_of(stem: str) -> str:
    """Return the id of the task in the folder or file named *stem*.

    RALF's scripts address a task by its folder's name, and queue.yaml does too
    (`TASK-ARCH-014-goals-system`), so that is the id. Names made of a Unix time and a slug are the
    exception: `TASK-1769916001-automate-queue-management.md` is `TASK-1769916001` in queue.yaml and
    events.yaml. Characters no id can have become `-`.
    """
    found = _UNIX_NAMED.fullmatch(stem)
    name = found[1] if found else stem
    return name if is_id(name) else _NOT_IN_ID.sub("-", name).strip("._-")[:128]


def ids_in(texts: Iterable[object]) -> tuple[str, ...]:
    """Return the task ids that *texts* name, in order, each once; a value that is an id counts whole."""
    found: dict[str, None] = {}
    for text in texts:
        for part in text if isinstance(text, (list, tuple)) else [text]:
            name = str(part).strip() if isinstance(part, (str, int)) else ""
            if (
                is_id(name)
                and filled(name)
                and any(character.isdigit() or character == "-" for character in name)
            ):
                found[name] = None
            else:
                found.update(dict.fromkeys(_ID_IN_TEXT.findall(name)))
    return tuple(found)
