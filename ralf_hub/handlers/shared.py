"""What several nouns' handlers need: field types, list answers, entity tags."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, Field, StringConstraints

from ralf_hub.clock import iso, parse_iso
from ralf_hub.endpoint import Answer, Query
from ralf_hub.errors import HubError
from ralf_hub.model import TASK_ID_PATTERN, Json, Task, task_json
from ralf_hub.store.rows import PAGE_MAX, Page

T = TypeVar("T")

TITLE_LENGTH_MAX: Final = 500
TEXT_LENGTH_MAX: Final = 200_000
NAME_LENGTH_MAX: Final = 200
METADATA_KEYS_MAX: Final = 200
DEPENDENCIES_MAX: Final = 200

_ENTITY_TAG: Final = re.compile(r'^(?:W/)?"v(\d{1,15})"$')


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("This must not be empty.")
    return text


def _moment(text: str) -> str:
    try:
        return iso(parse_iso(text))
    except (ValueError, OverflowError):
        raise ValueError("This must be an ISO-8601 time.") from None


Title = Annotated[str, StringConstraints(max_length=TITLE_LENGTH_MAX), AfterValidator(_not_blank)]
Text = Annotated[str, StringConstraints(max_length=TEXT_LENGTH_MAX)]
Name = Annotated[str, StringConstraints(max_length=NAME_LENGTH_MAX), AfterValidator(_not_blank)]
TaskId = Annotated[str, StringConstraints(pattern=TASK_ID_PATTERN)]
Moment = Annotated[str, StringConstraints(max_length=64), AfterValidator(_moment)]
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


def entity_tag(task: Task) -> str:
    """Return the `ETag` of a task: its version."""
    return f'"v{task.version}"'


def expected_version(header: str | None) -> int | None:
    """Return the version `If-Match` asks for, None where any will do. HubError `version_mismatch` for foreign tags."""
    if header is None or header.strip() == "*":
        return None
    versions = [_ENTITY_TAG.fullmatch(tag.strip()) for tag in header.split(",")]
    found = [int(match[1]) for match in versions if match]
    if not found:
        raise HubError("If-Match must carry the task's ETag.", code="version_mismatch")
    return max(found)


def listed(items: Sequence[T], show: Callable[[T], Json]) -> list[Json]:
    """Return *items* as JSON."""
    return [show(item) for item in items]
