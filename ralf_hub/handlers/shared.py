"""What several nouns' handlers need: field types, list answers, entity tags."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar
from zlib import crc32

from pydantic import AfterValidator, Field, StringConstraints

from ralf_hub.clock import FAR_FUTURE, iso, parse_iso
from ralf_hub.endpoint import Answer, Query
from ralf_hub.errors import HubError
from ralf_hub.model import TASK_ID_PATTERN, Json, Task, link_json, task_json
from ralf_hub.store.rows import PAGE_MAX, Page, dump, slice_of

T = TypeVar("T")

TITLE_LENGTH_MAX: Final = 5_000
"""Longer than any service shows: what goes out is cut to what each takes."""
TEXT_LENGTH_MAX: Final = 200_000
NAME_LENGTH_MAX: Final = 200
METADATA_KEYS_MAX: Final = 200
DEPENDENCIES_MAX: Final = 200

MOMENT_MAX: Final = parse_iso(FAR_FUTURE)
_ENTITY_TAG: Final = re.compile(r'^(?:W/)?"v([0-9]{1,15})(?:-[0-9a-f]{8})?"$')


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("This must not be empty.")
    return text


def _moment(text: str) -> str:
    try:
        moment = parse_iso(text)
    except (ValueError, OverflowError):
        raise ValueError("This must be an ISO-8601 time.") from None
    if not 0 <= moment <= MOMENT_MAX:
        raise ValueError("This must be a time of the years 1970 to 9999.")
    return iso(moment)


NOT_BLANK: Final = r"\S"
_SOMETHING: Final = Field(json_schema_extra={"pattern": NOT_BLANK})
"""Says in the OpenAPI document what `_not_blank` asks for."""
Title = Annotated[str, StringConstraints(max_length=TITLE_LENGTH_MAX), AfterValidator(_not_blank), _SOMETHING]
Text = Annotated[str, StringConstraints(max_length=TEXT_LENGTH_MAX)]
Name = Annotated[str, StringConstraints(max_length=NAME_LENGTH_MAX), AfterValidator(_not_blank), _SOMETHING]
TaskId = Annotated[str, StringConstraints(pattern=TASK_ID_PATTERN)]
Moment = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_moment),
    Field(json_schema_extra={"format": "date-time"}),
]
Limit = Annotated[int, Field(ge=1, le=PAGE_MAX)]


class PageQuery(Query):
    """The parameters every list has."""

    limit: Limit = Field(default=50, description="Items per page.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")


def page_answer(
    noun: str, page: Page[T], show: Callable[[T], Json], extra: dict[str, Json] | None = None
) -> Answer:
    """Return one page of *noun* as every list answers."""
    return Answer.json(
        {
            noun: [show(item) for item in page.items],
            "total": page.total,
            "next_cursor": page.next_cursor,
            **(extra or {}),
        }
    )


def task_answer(task: Task, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Return *task* with its entity tag."""
    return Answer.json(task_json(task), status, {"ETag": entity_tag(task), **(headers or {})})


def slice_answer(
    noun: str, items: Sequence[T], key: Callable[[T], str], show: Callable[[T], Json], query: PageQuery
) -> Answer:
    """Return one page of *items*, a short list in memory in the order of *key*."""
    return page_answer(noun, slice_of(noun, items, key, limit=query.limit, cursor=query.cursor), show)


def entity_tag(task: Task) -> str:
    """Return the `ETag` of a task: its version, and what its links are; those come without a new version."""
    shown = [link_json(link) for link in task.links if link.external_id is not None] if task.links else None
    return f'"v{task.version}-{crc32(dump(shown).encode()):08x}"' if shown else f'"v{task.version}"'


def expected_versions(header: str | None) -> frozenset[int] | None:
    """Return the versions `If-Match` names, None where any will do. HubError `version_mismatch` where it names none.

    A weak tag counts as well: proxies that compress weaken tags, and a version says all that matters here.
    """
    if header is None or header.strip() == "*":
        return None
    tags = [_ENTITY_TAG.fullmatch(tag.strip()) for tag in header.split(",")]
    versions = frozenset(int(tag[1]) for tag in tags if tag)
    if not versions:
        raise HubError("If-Match must carry the task's ETag.", code="version_mismatch")
    return versions


def is_known(header: str | None, tag: str) -> bool:
    """Return whether `If-None-Match` names *tag*; compared weakly, as https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2 asks."""
    if header is None:
        return False
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    return tag in tags or tags == ["*"]


def listed(items: Sequence[T], show: Callable[[T], Json]) -> list[Json]:
    """Return *items* as JSON."""
    return [show(item) for item in items]
