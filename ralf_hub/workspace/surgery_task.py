"""Task files: a new one in RALF's header style, and a change of title, priority or objective in one that is there."""

import re
from collections.abc import Sequence
from typing import Final

from ralf_hub.workspace import words
from ralf_hub.workspace.headers import SECTION_CHARACTERS_MAX, key_name
from ralf_hub.workspace.layout import LayoutName
from ralf_hub.workspace.surgery_text import (
    TITLE_CHARACTERS_MAX,
    SurgeryError,
    bare,
    end_of,
    like_case,
    lines_with_ends,
    newline_of,
    one_line,
    scalar,
    split_value,
    writable,
)
from ralf_hub.workspace.tasks import TaskSource, read_task
from ralf_hub.workspace.wishes import Wish, seconds

DESCRIBED_IN: Final = (
    "objective", "description", "goal", "summary", "overview", "instruction", "problem_statement",
)  # fmt: skip
"""The sections that say what a task is about; the readers take the first of them that says something."""
CRITERIA_MAX: Final = 50

_HEADING = re.compile(r"(#[ \t]+)(.*)")
_NAMED = re.compile(
    r"((?:Task:?[ \t]+)?[A-Z][A-Za-z0-9]*[-_][A-Za-z0-9._-]*[A-Za-z0-9][ \t]*(?::|[ \t][-\u2014\u2013])[ \t]*)(.*)"
)
_WORD = re.compile(r"((?:Task|TASK)(?:[ ]Context)?:[ \t]*)(.*)")
_SECTION = re.compile(r"#{2,6}[ \t]+(.*)")
_ANY_HEADING = re.compile(r"#{1,6}[ \t]")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_BOLD = re.compile(r"((?:[-*][ \t]+)?\*\*([A-Za-z][\w /()-]{0,40}?):?\*\*:?[ \t]*)(.*?)([ \t]*)$")
_YAML_KEY = re.compile(r"([A-Za-z_][\w-]*)(:[ \t]*)(.*)$")
_SLUG = re.compile(r"[^a-z0-9]+")
SLUG_CHARACTERS_MAX: Final = 50


def title_as_read(title: str) -> str:
    """Return *title* as the readers give it back."""
    return words.unquoted(one_line(title)[:TITLE_CHARACTERS_MAX])


def body_as_written(description: str) -> str:
    """Return *description* as it stands in a section: its own headings indented by a blank, its code closed.

    Markdown shows them the same; the readers do not take them for sections of the task. A rule at the end, which
    RALF's files have between sections, is left out.
    """
    text = writable(description).strip()
    while text.endswith("---"):
        text = text.removesuffix("---").rstrip()
    fenced, lines = False, []
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        lines.append(f" {line}" if not fenced and _ANY_HEADING.match(line) else line)
    return "\n".join([*lines, "```"] if fenced else lines)


def description_as_read(description: str) -> str:
    """Return *description* as the readers give it back once it is written."""
    return body_as_written(description).strip()[:SECTION_CHARACTERS_MAX]


def slug(title: str) -> str:
    """Return *title* as part of a file's name."""
    return _SLUG.sub("-", title.lower())[:SLUG_CHARACTERS_MAX].strip("-")


def new_task(wish: Wish, form: LayoutName) -> str:
    """Return the text of a new task's file, as RALF's planner writes them in this *form* of workspace."""
    head = [f"# {wish.id}: {title_as_read(wish.title)}", ""]
    rule = ["", "---", ""] if form == "modern" else [""]
    head += [f"**{key}:** {value}" for key, value in _header(wish, form) if value]
    body = body_as_written(wish.description)
    lines = [*head, *rule, "## Objective", "", body or title_as_read(wish.title)]
    lines += [*rule, "## Success Criteria", "", *_criteria(wish), ""]
    return "\n".join(lines)


def _header(wish: Wish, form: LayoutName) -> list[tuple[str, str]]:
    estimate = wish.metadata.get("estimate") or wish.metadata.get("estimated_minutes")
    minutes = f"{estimate} minutes" if isinstance(estimate, int) else one_line(str(estimate or ""))
    status = ("Status", wish.status)
    kind = ("Type", one_line(wish.type or ""))
    priority = ("Priority", wish.priority.upper() if form == "modern" else wish.priority)
    first = [status, priority, kind] if form == "modern" else [kind, priority, status]
    return [
        *first,
        ("Category", one_line(str(wish.metadata.get("category") or ""))),
        ("Feature", one_line(wish.feature_id or "")),
        ("Parent", wish.parent_id or ""),
        ("Dependencies", ", ".join(wish.depends_on)),
        ("Estimated Effort" if form == "modern" else "Estimated Minutes", minutes),
        ("Created", seconds(wish.created_at)),
        ("Source", f"ralf-hub ({one_line(wish.source)})"),
    ]


def _criteria(wish: Wish) -> list[str]:
    for key in ("acceptance_criteria", "success_criteria"):
        given = wish.metadata.get(key)
        if isinstance(given, list) and given:
            return [f"- [ ] {one_line(str(one))}" for one in given[:CRITERIA_MAX]]
    return ["- [ ] The objective is met"]


# --- changes --------------------------------------------------------------------------------------


def change_task(text: str, source: TaskSource, wish: Wish) -> str:
    """Return *text*, the file of a task, with the fields of `wish.changed` as the hub has them.

    What says so already stays as it is. SurgeryError: the file would not be read back as meant.
    """
    now, _ = read_task(text, source)
    lines = lines_with_ends(text)
    title, description = title_as_read(wish.title), description_as_read(wish.description)
    if "title" in wish.changed and now.title != title:
        _set_title(lines, title, (source.stem, now.id))
    if "priority" in wish.changed and now.priority != wish.priority:
        _set_priority(lines, wish.priority)
    if "description" in wish.changed and now.description != description:
        _set_description(lines, body_as_written(wish.description))
    done = "".join(lines)
    if done == text:
        return text
    after, _ = read_task(done, source)
    wanted = {"title": title, "priority": wish.priority, "description": description}
    wrong = [n for n, v in wanted.items() if n in wish.changed and getattr(after, n) != v]
    if wrong:
        raise SurgeryError(f"its {' and '.join(wrong)} cannot be changed line by line")
    return done


def _matter(lines: Sequence[str]) -> int:
    """Return the line after the front matter; 0 where there is none."""
    if not lines or bare(lines[0]).removeprefix("\ufeff").rstrip() != "---":
        return 0
    return next((n + 1 for n in range(1, len(lines)) if bare(lines[n]).rstrip() == "---"), 0)


def _open_lines(lines: Sequence[str]) -> list[int]:
    """Return the numbers of the lines below the front matter that stand in no code."""
    fenced, found = False, []
    for number in range(_matter(lines), len(lines)):
        if _FENCE.match(lines[number]):
            fenced = not fenced
        elif not fenced:
            found.append(number)
    return found


def _set_matter(lines: list[str], keys: Sequence[str], value: str) -> bool:
    """Set the first of *keys* in the front matter; return whether it has one."""
    for number in range(1, max(_matter(lines) - 1, 1)):
        found = _YAML_KEY.match(bare(lines[number]))
        if found and key_name(found[1]) in keys:
            old, rest = split_value(found[3])
            gap = found[2] if found[2].endswith((" ", "\t")) else f"{found[2]} "
            lines[number] = f"{found[1]}{gap}{scalar(value, old)}{rest}{end_of(lines[number])}"
            return True
    return False


def _set_title(lines: list[str], title: str, own: tuple[str, ...]) -> None:
    at = next((n for n in _open_lines(lines) if _HEADING.match(bare(lines[n]))), None)
    in_matter = _set_matter(lines, ("title", "name", "task"), title)
    if at is None:
        if not in_matter:
            raise SurgeryError("it has no heading")
        return
    found = _HEADING.match(bare(lines[at]).rstrip())
    mark, heading = (found[1], found[2]) if found else ("# ", "")
    named = _NAMED.fullmatch(heading) or _WORD.fullmatch(heading)
    mine = next((name for name in own if heading.startswith(f"{name}:")), None)
    if mine:
        prefix = f"{mine}: "
    elif named:
        prefix = named[1]
    elif re.fullmatch(r"[A-Z][A-Za-z0-9]*[-_][A-Za-z0-9._-]+", heading):
        prefix = f"{heading}: "
    else:
        prefix = ""
    gap = " " if prefix and prefix[-1] not in " 	" else ""
    lines[at] = f"{mark}{prefix}{gap}{title}{end_of(lines[at])}"


def _set_priority(lines: list[str], priority: str) -> None:
    if _set_matter(lines, ("priority",), priority):
        return
    after: int | None = None
    for number in _open_lines(lines):
        line = bare(lines[number])
        if _SECTION.match(line):
            break
        found = _BOLD.match(line)
        if found and key_name(found[2]) == "priority":
            gap = found[1] if found[1].endswith((" ", "\t")) else f"{found[1]} "
            lines[number] = (
                f"{gap}{like_case(priority, found[3].split('(')[0])}{found[4]}{end_of(lines[number])}"
            )
            return
        if found or (after is None and _HEADING.match(line)):
            after = number
    if after is None:
        raise SurgeryError("it has no header")
    newline = newline_of("".join(lines))
    is_heading = _HEADING.match(bare(lines[after])) is not None
    _insert(lines, after + 1, [*([""] if is_heading else []), f"**Priority:** {priority}"], newline)


def _set_description(lines: list[str], body: str) -> None:
    newline = newline_of("".join(lines))
    heads = [(n, found[1]) for n in _open_lines(lines) if (found := _SECTION.match(bare(lines[n])))]
    ends = [*(n for n, _ in heads[1:]), len(lines)] if heads else []
    written = body.split("\n") if body else []
    for name in DESCRIBED_IN:
        for (start, heading), end in zip(heads, ends, strict=True):
            if key_name(heading) == name and (_says_something(lines[start + 1 : end]) or name == "objective"):
                last = _last_of(lines, start, end)
                first = start + 1
                while first < last and not bare(lines[first]).strip():
                    first += 1
                blank = [""] if first == start + 1 else []
                _replace(lines, first, last, [*blank, *written], newline)
                return
    at = heads[0][0] if heads else len(lines)
    gap = [""] if at and bare(lines[at - 1]).strip() else []
    _insert(lines, at, [*gap, "## Objective", "", *written, *([""] if heads else [])], newline)


def _says_something(lines: Sequence[str]) -> bool:
    return any(bare(line).strip() not in {"", "---"} for line in lines)


def _last_of(lines: Sequence[str], start: int, end: int) -> int:
    """Return the line after the text of a section: blank lines and a rule before the next one are not part of it."""
    while end > start + 1 and bare(lines[end - 1]).strip() in {"", "---"}:
        end -= 1
    return end


def _insert(lines: list[str], at: int, new: Sequence[str], newline: str) -> None:
    if at and not end_of(lines[at - 1]):
        lines[at - 1] += newline
    lines[at:at] = [line + newline for line in new]


def _replace(lines: list[str], start: int, end: int, new: Sequence[str], newline: str) -> None:
    last = end_of(lines[end - 1]) if end > start else newline
    put = [line + newline for line in new]
    if put and end == len(lines):
        put[-1] = new[-1] + last
    lines[start:end] = put
