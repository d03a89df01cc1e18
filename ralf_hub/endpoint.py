"""One row per endpoint: route, scope, input, output. Router, access control and OpenAPI all read it."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic import ValidationError as PydanticError

from ralf_hub.clock import iso
from ralf_hub.errors import FieldError, HubError, ValidationError
from ralf_hub.intake.ledger import Ledger
from ralf_hub.keyring import Principal
from ralf_hub.model import Json
from ralf_hub.services import Services
from ralf_hub.store import keys

T = TypeVar("T")

IDEMPOTENCY_WINDOW_MS: Final = 24 * 3_600 * 1000
IDEMPOTENCY_KEY_LENGTH_MAX: Final = 255
NESTING_MAX: Final = 64
"""Levels of lists and objects in a body: far more than anybody needs, and what is taken in can be written out again."""
FIELDS_MAX: Final = 200
NAME_LENGTH_MAX: Final = 100
"""Longer names of fields and parameters are cut where an error names them."""
_JSON: Final = "application/json"
_PATTERN: Final = re.compile(r":[^}]*\}")
"""What a parameter of a path may be, which is no part of its name."""


class Body(BaseModel):
    """A request body: unknown fields and wrong types are errors, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number of a body: `4.0` is one too, since JSON knows but one kind of number."""


class Query(BaseModel):
    """Query parameters: unknown ones are errors; text becomes numbers where a number is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(NamedTuple):
    """What a handler answers with."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    content_type: str = _JSON

    @classmethod
    def json(cls, value: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> "Answer":
        """Return *value* as a JSON answer."""
        return cls(status, orjson.dumps(value), headers or {})


@dataclass(slots=True)
class Call:
    """One request after it passed the door: who, what, and the hub to do it with."""

    hub: Services
    request: web.Request
    principal: Principal
    request_id: str
    params: Mapping[str, str]
    query: Any = None
    body: Any = None
    idempotency: tuple[str, str] | None = None
    kept: bool = False

    @property
    def source(self) -> str:
        """Who events of this call come from."""
        return f"api:{self.principal.name}"

    async def accept(
        self,
        change: Callable[[Ledger], T],
        answer: Callable[[T], Answer],
        *,
        kept_as: Callable[[T], Answer] | None = None,
    ) -> Answer:
        """Run *change* in one transaction, with the answer kept in it when an Idempotency-Key was given.

        *kept_as* makes what is kept where the answer itself must not be written down.
        """
        if self.idempotency is None:
            return answer(await self.hub.intake.accept(change))
        key, digest = self.idempotency

        def run(ledger: Ledger) -> Answer:
            check_replay(ledger, self.principal.id, key, digest)
            result = change(ledger)
            keep(ledger, self.principal.id, key, digest, (kept_as or answer)(result))
            return answer(result)

        reply = await self.hub.intake.accept(run)
        self.kept = True
        return reply


Handler = Callable[[Call], Awaitable[Answer | web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of the API. `scope` None: open to all."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    scope: str | None
    tag: str
    body: type[Body] | None = None
    form: type[BaseModel] | None = None
    """What a handler that reads the body itself takes as a form, for the OpenAPI document."""
    query: type[Query] | None = None
    answer: str = ""
    """Name of the schema of the 2xx body; empty where there is none."""
    status: int = 200
    errors: Sequence[str] = ()
    """Codes of problems this endpoint has beyond those every endpoint has."""
    raw: bool = False
    """True where the handler reads the query and body itself (webhooks, streams)."""

    @property
    def label(self) -> str:
        """How usage and logs name the endpoint."""
        return f"{self.method} {_PATTERN.sub('}', self.path)}"


# --- idempotency ----------------------------------------------------------------------------------


class ReplayedError(Exception):
    """This request has been answered before; here is what it was told."""

    def __init__(self, stored: keys.StoredAnswer) -> None:
        super().__init__("replayed")
        self.stored = stored


def check_replay(ledger: Ledger, principal: str, key: str, digest: str) -> None:
    """Raise ReplayedError where *key* was answered, HubError `idempotency_mismatch` where for another request."""
    since = ledger.clock.now() - IDEMPOTENCY_WINDOW_MS
    stored = keys.find_answer(ledger.conn, principal, key, since=iso(since))
    if stored is None:
        return
    if stored.request_hash != digest:
        raise HubError("This Idempotency-Key came with another request before.", code="idempotency_mismatch")
    raise ReplayedError(stored)


def keep(ledger: Ledger, principal: str, key: str, digest: str, reply: Answer) -> None:
    """Store *reply* under *key*, in the transaction of the change it answers."""
    stored = keys.StoredAnswer(digest, reply.status, dict(reply.headers), reply.body)
    keys.keep_answer(ledger.conn, principal, key, stored, now=ledger.now)


# --- parsing at the door --------------------------------------------------------------------------


def field_path(location: Sequence[str | int]) -> str:
    """Return a pydantic location as `depends_on[0]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part[:NAME_LENGTH_MAX]}"
    return text or "body"


_WORDS: Final = {
    "missing": "This field is needed.",
    "extra_forbidden": "There is no such field.",
    "string_type": "This must be text.",
    "int_type": "This must be a whole number.",
    "list_type": "This must be a list.",
    "dict_type": "This must be an object.",
    "bool_type": "This must be true or false.",
    "model_type": "The body must be a JSON object.",
    "int_parsing": "This must be a whole number.",
    "string_pattern_mismatch": "These characters are not allowed here.",
}


def field_errors(error: PydanticError) -> list[FieldError]:
    """Return every problem pydantic found, in the API's words, without echoing what was sent."""
    return [
        FieldError(
            field_path(item["loc"]), _WORDS.get(item["type"], item["msg"].removeprefix("Value error, "))
        )
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def parse_query(model: type[Query] | None, request: web.Request) -> Any:
    """Return the query parameters as *model*. HubError `invalid_parameter` names every bad one."""
    if not request.rel_url.raw_query_string:
        return None if model is None else _without_parameters(model)
    given = dict(request.query)
    if flaws := _flaws_of_query(request, given):
        raise HubError(code="invalid_parameter", errors=flaws)
    return _validated(model or Query, given)


def _validated(model: type[Query], given: Mapping[str, str]) -> Query:
    try:
        return model.model_validate(given)
    except PydanticError as error:
        errors = [
            FieldError(
                item.field,
                "There is no such parameter." if item.message == _WORDS["extra_forbidden"] else item.message,
            )
            for item in field_errors(error)
        ]
        raise HubError(code="invalid_parameter", errors=errors) from None


@cache
def _without_parameters(model: type[Query]) -> Query:
    """Return *model* with its defaults: frozen, so one serves all. Not cached where some parameter is needed."""
    return _validated(model, {})


def _flaws_of_query(request: web.Request, given: Mapping[str, str]) -> list[FieldError]:
    """Return what is wrong with parameters whatever they mean; `\ufffd` is what decoding leaves of bad bytes."""
    flaws = []
    for name, value in given.items():
        shown = name[:NAME_LENGTH_MAX]
        if len(request.query.getall(name)) > 1:
            flaws.append(FieldError(shown, "This parameter may be given once."))
        if "\0" in name or "\0" in value:
            flaws.append(FieldError(shown, "The character NUL is not allowed."))
        if "\ufffd" in name or "\ufffd" in value:
            flaws.append(FieldError(shown, "This is not UTF-8 text."))
    return flaws


def parse_body(model: type[Body], raw: bytes, content_type: str, charset: str | None = None) -> Any:
    """Return *raw* as *model*. HubError `unsupported_media_type`, `invalid_json`, `validation_failed`."""
    if raw and content_type != _JSON and not content_type.endswith("+json"):
        raise HubError(f"Send {_JSON}.", code="unsupported_media_type")
    if charset is not None and charset.lower() not in {"utf-8", "utf8"}:
        raise HubError("Send JSON in UTF-8.", code="unsupported_media_type")
    value = read_json(raw) if raw else {}
    refuse_nul(raw, value)
    try:
        return model.model_validate(value)
    except PydanticError as error:
        raise ValidationError(errors=field_errors(error)) from None


def read_json(raw: bytes, what: str = "body") -> Json:
    """Return what *raw*, called *what* in errors, says: never so deep that it could not be written out again.

    HubError `invalid_json`, `validation_failed`.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise HubError(f"The {what} is not valid JSON: {error}.", code="invalid_json") from None
    if raw.count(b"[") + raw.count(b"{") > NESTING_MAX and _is_deeper(value, NESTING_MAX):
        raise HubError(f"The {what} is nested more than {NESTING_MAX} levels deep.", code="invalid_json")
    if isinstance(value, dict) and len(value) > FIELDS_MAX:
        raise ValidationError(errors=[FieldError(what, f"There are more than {FIELDS_MAX} fields.")])
    return value


def refuse_nul(raw: bytes, value: Json, what: str = "body") -> None:
    """Refuse *value*, read from *raw*, where a text in it holds NUL: SQLite's own functions would cut it there."""
    if b"\\u0000" in raw and (places := _nul_places(value, "")):
        raise ValidationError(
            errors=[FieldError(place or what, "The character NUL is not allowed.") for place in places]
        )


def _is_deeper(value: Json, levels: int) -> bool:
    """Return whether *value* has more than so many levels of lists and objects. Not recursive: it is not trusted yet."""
    level = [value]
    for _ in range(levels + 1):
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return False
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return True


def _nul_places(value: Json, place: str) -> list[str]:
    if isinstance(value, str):
        return [place] if "\0" in value else []
    if isinstance(value, dict):
        shown = {key: key[:NAME_LENGTH_MAX].replace("\0", "\ufffd") for key in value}
        named = {key: f"{place}.{name}" if place else name for key, name in shown.items()}
        bad = [named[key] for key in value if "\0" in key]
        return bad + [found for key, item in value.items() for found in _nul_places(item, named[key])]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in _nul_places(item, f"{place}[{i}]")]
    return []


def request_digest(method: str, path: str, raw: bytes) -> str:
    """Return what identifies a request for its Idempotency-Key."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), raw))).hexdigest()
