"""What a verified webhook says, the same for every service.

Each service has a file here that reads a request into `Received`. Reading is pure; a request that cannot be read
raises `HubError` (`validation_failed`, `unsupported_media_type`) and nothing else, whatever it holds.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from ralf_hub.errors import FieldError, HubError, ValidationError
from ralf_hub.model import Json
from ralf_hub.texts import cut, one_line, plain
from ralf_hub.verdicts import Signed

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
NESTING_MAX: Final = 64
FORM_FIELDS_MAX: Final = 1_000
FACT_LENGTH_MAX: Final = 300
KEY_LENGTH_MAX: Final = 300
"""Longer delivery ids and names of things are replaced by their hash."""

_EVENT_PART: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,99}")
TASK_MENTION: Final = re.compile(
    r"\bralf:(?!evt_)([A-Za-z0-9][A-Za-z0-9._-]{0,127})|\b(TASK-[A-Za-z0-9][A-Za-z0-9._-]{0,100})"
)
_MARKED: Final = re.compile(r"\bralf:evt_|\bralf-t-[0-9a-f]")
"""What the hub writes into everything it makes outside: `ralf:<event id>`, at Jira a label."""
MENTIONS_MAX: Final = 10
BEGINNINGS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Thing:
    """What stands outside and the webhook is about: an issue, a card, an incident.

    `external_id` names it among all things of its service; `local_id` is how a connector of its home calls it,
    empty where none can update it.
    """

    external_id: str
    local_id: str = ""
    key: str = ""
    url: str | None = None
    title: str = ""
    homes: tuple[str, ...] = ()
    """The repository, project or board it belongs to, by all its names."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer a service wants in its own form."""

    body: Json = None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Command:
    """A word to the hub from a chat: `/ralf retry TASK-1`, or a button."""

    text: str
    by: str
    user_id: str = ""
    message: Mapping[str, Json] = field(default_factory=dict)
    """The message whose button was pressed: `connector channel ts text blocks`."""


@dataclass(frozen=True, slots=True)
class Received:
    """One webhook, read."""

    dedup_key: str
    event_type: str
    """In the service's own words: `issues.opened`."""
    payload: Mapping[str, Json]
    """What conditions look at and templates print."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """The little that goes into the event."""
    thing: Thing | None = None
    actors: tuple[str, ...] = ()
    """The names and ids of who caused it."""
    states: tuple[str, ...] = ()
    """What state the thing is in now, by all its names."""
    mentions: tuple[str, ...] = ()
    """Ids of tasks named in the texts."""
    marked: bool = False
    """Whether the hub's own marker is on what was just made."""
    command: Command | None = None
    handshake: Reply | None = None
    """The whole answer to a handshake, which is no event at all."""


# --- reading bodies -------------------------------------------------------------------------------


def read_json(request: Signed) -> dict[str, Json]:
    """Return the JSON object in the body. HubError where it is none or is no JSON by its content type."""
    kind = media_type(request)
    if kind != JSON and not kind.endswith("+json"):
        raise HubError(f"Send {JSON}.", code="unsupported_media_type")
    return parse_object(request.body)


def parse_object(raw: bytes | str) -> dict[str, Json]:
    """Return *raw* as a JSON object. ValidationError."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise unreadable(f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise unreadable("The body must be a JSON object.")
    level: list[Json] = [value]
    for _ in range(NESTING_MAX):
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return value
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    raise unreadable(f"The body is nested more than {NESTING_MAX} levels deep.")


def read_form(request: Signed) -> dict[str, str]:
    """Return the fields of a form; of a field that comes twice the last. HubError."""
    if media_type(request) != FORM:
        raise HubError(f"Send {FORM}.", code="unsupported_media_type")
    try:
        pairs = parse_qsl(
            request.body.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FORM_FIELDS_MAX,
        )
    except ValueError:
        raise unreadable("The body is not a form in UTF-8.") from None
    return dict(pairs)


def media_type(request: Signed) -> str:
    """Return the content type without its parameters, in lower case."""
    return request.header("Content-Type").partition(";")[0].strip().lower()


def unreadable(message: str, field_name: str = "body") -> ValidationError:
    """Return the error for a genuine request that cannot be read."""
    return ValidationError(errors=[FieldError(field_name, message)])


# --- looking into payloads ------------------------------------------------------------------------


def find(value: Json, path: str) -> list[Json]:
    """Return what stands at the dotted *path*; a list on the way stands for each of its items."""
    found: list[Json] = [value]
    for part in path.split("."):
        found = [inner for item in found for inner in (item if isinstance(item, list) else [item])]
        found = [item[part] for item in found if isinstance(item, dict) and part in item]
    return [inner for item in found for inner in (item if isinstance(item, list) else [item])]


def text_at(value: Json, path: str) -> str:
    """Return the text or number at *path* as text, empty where there is none."""
    return next((plain(item) for item in find(value, path) if not isinstance(item, bool)), "")


def facts_of(payload: Mapping[str, Json], paths: Mapping[str, str]) -> dict[str, Json]:
    """Return short facts by name: the first of several paths (`a.b|c`) that says anything."""
    facts: dict[str, Json] = {}
    for name, choices in paths.items():
        text = next((text for path in choices.split("|") if (text := text_at(payload, path))), "")
        if text:
            facts[name] = fact(text)
    return facts


def fact(text: str) -> str:
    """Return *text* as a fact: one line, bounded."""
    return cut(one_line(text), FACT_LENGTH_MAX)


def join_type(*parts: str) -> str:
    """Return an event type from its parts. ValidationError where one is no name: they come from headers too."""
    given = [part for part in parts if part]
    if not given or not all(_EVENT_PART.fullmatch(part) for part in given):
        raise unreadable("The name of the event is not one.", "event")
    return ".".join(given)


def named(value: str) -> str:
    """Return *value*, the name of a delivery or thing, as a key: bounded and printable."""
    if len(value) <= KEY_LENGTH_MAX and value.isprintable():
        return value
    return digest(value.encode("utf-8", "surrogatepass"))


def digest(body: bytes) -> str:
    """Return what tells a body from all others: its SHA-256."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def dedup(delivery_id: str, request: Signed) -> str:
    """Return the provider's id of a delivery; where it gives none, what identifies the body."""
    return named(delivery_id) if delivery_id else digest(request.body)


def mentions_in(*texts: str) -> tuple[str, ...]:
    """Return the ids of tasks that *texts* name: `TASK-...` or `ralf:<id>`.

    A branch goes on after the id (`TASK-17-oil-the-wheel`): such a name is followed by its beginnings, the longest first.
    """
    found = islice((match for text in texts for match in TASK_MENTION.finditer(text)), MENTIONS_MAX)
    return tuple(dict.fromkeys(name for match in found for name in _names(match)))


def _names(match: re.Match[str]) -> Iterator[str]:
    name = (match[1] or match[2]).rstrip(".-_")
    yield name
    for _ in range(BEGINNINGS_MAX if match[2] else 0):
        name, mark, _ = name.rpartition("-")
        if not mark or name == "TASK":
            return
        yield name


def is_marked(texts: Sequence[Any]) -> bool:
    """Return whether the hub's own marker stands in one of *texts*."""
    return any(isinstance(text, str) and _MARKED.search(text) for text in texts)


def words(*values: str) -> tuple[str, ...]:
    """Return those of *values* that say anything, each once."""
    return tuple(dict.fromkeys(value for value in values if value))
