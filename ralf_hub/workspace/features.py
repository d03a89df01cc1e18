"""Features: plans/features/FEATURE-*.md with three styles of heading, and BACKLOG.md."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from itertools import pairwise
from typing import Final

from ralf_hub.workspace import words
from ralf_hub.workspace.headers import Head, lines_of, read_head
from ralf_hub.workspace.records import FeatureRecord, Problem
from ralf_hub.workspace.scalars import clean_text, json_safe, time_iso

BACKLOG: Final = "BACKLOG.md"
STATUSES: Final = ("completed", "active", "planned")
"""Strongest first: files and backlog contradict each other, and what is done stays done."""

_FILE = re.compile(r"(?:FEATURE|F)-(\d{3,})(?:-.*)?\.md")
_HEADING = re.compile(
    r"(?:Feature Specification:\s*|Feature\s+)?(?:FEATURE|F)-(\d{3,})\s*:?\s*(.*)", re.IGNORECASE
)
_ENTRY = re.compile(r"###[ \t]+(?:FEATURE|F)-(\d{3,})\b\s*:?[ \t]*(.*)")
_SECTION = re.compile(r"##[ \t]+(\w+) Features?\b", re.IGNORECASE)
_FILE_FIELD = re.compile(r"FEATURE-\d{3,}-([\w-]+)\.md")
_TICK = re.compile(r"[✅✔☑\s]+$")


def is_feature_file(name: str) -> bool:
    """Return whether *name* is that of a feature's own file; examples and templates are not."""
    return _FILE.fullmatch(name) is not None


def feature_status(text: object, default: str = "planned") -> str:
    """Return the status of a feature in the hub's words: planned, active or completed."""
    found = words.status(text)
    if isinstance(text, str) and text.strip().lower().startswith("planned"):
        return "planned"
    return {"completed": "completed", "in_progress": "active", "pending": "planned"}.get(found or "", default)


def read_feature(text: str, file: str, zone: tzinfo = UTC) -> tuple[FeatureRecord, list[Problem]]:
    """Return the feature in *text*, the content of FEATURE-NNN-slug.md."""
    head = read_head(text)
    problems = [Problem(file, line, message) for line, message in head.damage]
    name = file.rsplit("/", 1)[-1]
    in_name, heading = _FILE.fullmatch(name), _HEADING.fullmatch(head.heading)
    number = in_name[1] if in_name else heading[1] if heading else "000"
    if heading is None:
        problems.append(Problem(file, 1, "a heading without the feature's number; its file's name is used"))
    elif heading[1] != number:
        problems.append(Problem(file, 1, f"the heading says F-{heading[1]}, the file's name F-{number}"))
    title = words.filled(_TICK.sub("", heading[2] if heading else head.heading)) or name.removesuffix(".md")
    return _feature(number, title, head, file, 1, zone), problems


def _feature(number: str, title: str, head: Head, file: str, line: int, zone: tzinfo) -> FeatureRecord:
    status_text, priority_text = head.text("status"), head.text("priority")
    sections = head.sections
    description = next(
        (sections[n] for n in ("executive_summary", "overview", "user_value", "summary") if sections.get(n)),
        "",
    )
    estimate = head.text("estimated", "estimated_effort", "effort")
    metadata = {
        "status_text": status_text,
        "priority_text": priority_text,
        "estimate": estimate,
        "estimate_minutes": words.estimate_minutes(estimate),
        "category": head.text("category", "type"),
        "value_score": head.text("value_score"),
        "completed": head.text("completed"),
    }
    return FeatureRecord(
        id=f"F-{number}",
        title=clean_text(title),
        status=feature_status(status_text),
        priority=words.priority(priority_text) or "medium",
        file=file,
        line=line,
        description=clean_text(description),
        task_ids=words.ids_in(head.values("task", "tasks")),
        aliases=(f"FEATURE-{number}",),
        created_at=time_iso(head.text("created", "added"), zone),
        metadata={
            key: json_safe(value) for key, value in metadata.items() if value is not None and value != ""
        },
    )


def read_backlog(text: str, file: str, zone: tzinfo = UTC) -> list[FeatureRecord]:
    """Return the entries of BACKLOG.md, one per heading; the same feature may come twice.

    An entry's own status counts; only without one does the section it stands in, because entries
    are finished in place.
    """
    lines = lines_of(text)
    entries: list[FeatureRecord] = []
    section = "planned"
    starts = [n for n, line in enumerate(lines) if line.startswith(("## ", "### "))] + [len(lines)]
    for start, end in pairwise(starts):
        found = _SECTION.match(lines[start])
        if found:
            section = feature_status(found[1], section)
        entry = _ENTRY.match(lines[start])
        if entry is None:
            continue
        head = read_head("\n".join(["# entry", *lines[start + 1 : end]]))
        default = "completed" if head.text("completed") else section
        slug = _FILE_FIELD.search(str(head.text("file") or ""))
        title = words.filled(_TICK.sub("", entry[2])) or (
            slug[1].replace("-", " ") if slug else f"F-{entry[1]}"
        )
        feature = _feature(entry[1], title, head, file, start + 1, zone)
        entries.append(replace(feature, status=feature_status(head.text("status"), default)))
    return entries


def resolve_features(
    files: Iterable[FeatureRecord], backlog: Iterable[FeatureRecord]
) -> tuple[list[FeatureRecord], list[Problem]]:
    """Return one feature per id, and where its sources contradict each other.

    The feature's own file gives its words; of the statuses the furthest counts (`STATUSES`).
    """
    sources: dict[str, list[FeatureRecord]] = defaultdict(list)
    for record in (*files, *backlog):
        sources[record.id].append(record)
    problems: list[Problem] = []
    features = [_merged(records, problems) for _, records in sorted(sources.items())]
    return features, problems


def _merged(records: Sequence[FeatureRecord], problems: list[Problem]) -> FeatureRecord:
    first = records[0]
    status = min((record.status for record in records), key=STATUSES.index)
    for record in records[1:]:
        if record.status != first.status:
            message = f"{record.id} is {record.status} here, {first.status} in {first.file}; {status} counts"
            problems.append(Problem(record.file, record.line, message))
            break
    return replace(
        first,
        status=status,
        description=next((record.description for record in records if record.description), ""),
        task_ids=tuple(dict.fromkeys(task for record in records for task in record.task_ids)),
    )
