"""The door, one pass: request id, key and scope, rate limits, body limit, security headers, errors as problems.

One middleware instead of six: a chain costs half of the hub's throughput (see `docs/adr/`).
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, istr

from ralf_hub import context
from ralf_hub.admission import admit
from ralf_hub.endpoint import (
    IDEMPOTENCY_KEY_LENGTH_MAX,
    Answer,
    Body,
    Call,
    Endpoint,
    ReplayedError,
    check_replay,
    keep,
    parse_body,
    parse_query,
    request_digest,
)
from ralf_hub.errors import PROBLEMS, FieldError, HubError
from ralf_hub.intake.ledger import Ledger
from ralf_hub.keyring import ANONYMOUS, Principal
from ralf_hub.services import SERVICES, Services
from ralf_hub.texts import cut

log = logging.getLogger(__name__)
access_log = logging.getLogger("ralf_hub.access")

PROBLEM_TYPE: Final = "https://ralf-hub.invalid/problems/"
"""Only a name, as RFC 9457 allows: `docs/errors.md` describes each code."""
BODY_WITHIN_S = 60.0
STREAM: Final = "stream"
"""The tag of endpoints that stay open: a span as long as a connection tells nothing."""
ERRORS_MAX: Final = 100
"""Invalid fields named in one problem: enough for every honest mistake, and a bound on the answer."""
DETAIL_LENGTH_MAX: Final = 500
_REQUEST_ID: Final = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    istr("X-Content-Type-Options"): "nosniff",
    istr("X-Frame-Options"): "DENY",
    istr("Referrer-Policy"): "no-referrer",
    istr("Cache-Control"): "no-store",
    istr("Content-Security-Policy"): "default-src 'none'; frame-ancestors 'none'",
    istr("Server"): "ralf-hub",
}
_STANDARD: Final = CIMultiDict(SECURITY_HEADERS)
"""What every answer begins with: copying it costs a tenth of putting it together."""
_X_REQUEST_ID: Final = istr("X-Request-ID")
_IDEMPOTENCY_KEY: Final = istr("Idempotency-Key")
_CODE_OF_STATUS: Final = {
    400: "bad_request",
    403: "origin_refused",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


@web.middleware
async def door(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let every request in and every answer out."""
    hub = request.app[SERVICES]
    given = request.headers.get(_X_REQUEST_ID)
    request_id = given if given is not None and _REQUEST_ID.fullmatch(given) else hub.clock.token(12)
    context.request_id.set(request_id)
    endpoint: Endpoint | None = getattr(handler, "endpoint", None)
    if hub.tracing is None or endpoint is None or endpoint.tag == STREAM:
        return await _answer(hub, request, handler, endpoint, request_id)
    with hub.tracing.request(endpoint.label, request.headers.get("traceparent"), request_id) as ended:
        response = await _answer(hub, request, handler, endpoint, request_id)
        ended(response.status)
    return response


async def _answer(
    hub: Services,
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    endpoint: Endpoint | None,
    request_id: str,
) -> web.StreamResponse:
    begun = hub.clock.monotonic()
    caller = ANONYMOUS
    headers: dict[str, str] = {}
    try:
        _check_target(request)
        if endpoint is None:
            response = await handler(request)
        else:
            caller, allowance = await admit(hub, endpoint.scope, request)
            if allowance is not None:
                headers = allowance.headers()
            call = Call(hub, request, caller, request_id, request.match_info)
            answer = await (endpoint.handler(call) if endpoint.raw else invoke(endpoint, call))
            response = _response(answer) if isinstance(answer, Answer) else answer
    except ReplayedError as replayed:
        stored = replayed.stored
        shown = {**stored.headers, "Idempotency-Replayed": "true"}
        response = _response(Answer(stored.status, stored.body, shown))
    except HubError as error:
        response = problem(error, request_id)
    except web.HTTPException as error:
        response = _from_aiohttp(error, request_id)
    except Exception:
        log.exception("request %s failed: %s %s", request_id, request.method, request.path)
        response = problem(HubError(code="internal_error"), request_id)
    if not response.prepared:
        _finish(response, request_id, headers)
    seconds = hub.clock.monotonic() - begun
    _count(hub, endpoint, caller, response, seconds)
    if access_log.isEnabledFor(logging.DEBUG):
        access_log.debug(
            "%s %s %s %d %.1f ms", request_id, request.method, request.path, response.status, seconds * 1000
        )
    return response


def _check_target(request: web.Request) -> None:
    """Refuse a target that is no text: aiohttp lets such bytes through as surrogates, which nothing can store or show."""
    if request.raw_path.isascii():
        return
    try:
        request.raw_path.encode()
    except UnicodeEncodeError:
        raise HubError("The request's path and query must be UTF-8 text.", code="bad_request") from None


def _finish(response: web.StreamResponse, request_id: str, headers: Mapping[str, str]) -> None:
    shown = response.headers
    shown[_X_REQUEST_ID] = request_id
    if hdrs.SERVER not in shown:  # not made by `_response`
        for name, value in SECURITY_HEADERS.items():
            shown.setdefault(name, value)
    for name, value in headers.items():
        shown.setdefault(name, value)


def _response(answer: Answer) -> web.Response:
    headers = _STANDARD.copy()
    headers.update(answer.headers)
    if answer.body:
        headers[hdrs.CONTENT_TYPE] = answer.content_type
    return web.Response(status=answer.status, body=answer.body or None, headers=headers)


# --- one call -------------------------------------------------------------------------------------


async def invoke(endpoint: Endpoint, call: Call) -> Answer | web.StreamResponse:
    """Parse the input, run the handler, keep its answer where an Idempotency-Key asks for it."""
    request, hub, caller = call.request, call.hub, call.principal
    call.query = parse_query(endpoint.query, request)
    raw = await _read(request) if endpoint.body is not None or request.body_exists else b""
    if endpoint.body is not None or raw:
        call.body = parse_body(endpoint.body or Body, raw, request.content_type, request.charset)
    key = request.headers.get(_IDEMPOTENCY_KEY) if request.method == hdrs.METH_POST else None
    if key is None:
        return await endpoint.handler(call)
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX or not key.isprintable():
        error = FieldError(
            "Idempotency-Key", f"This must be 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable characters."
        )
        raise HubError(code="validation_failed", errors=[error])
    digest = request_digest(request.method, request.path_qs, raw)
    call.idempotency = (key, digest)
    hub.db.peek(lambda conn: check_replay(Ledger(conn, hub.clock, hub.intake.router), caller.id, key, digest))
    answer = await endpoint.handler(call)
    if not call.kept and isinstance(answer, Answer):
        await hub.intake.accept(lambda ledger: keep(ledger, caller.id, key, digest, answer))
    return answer


async def _read(request: web.Request) -> bytes:
    try:
        if request.content.is_eof():  # all of it is here: no need to watch the clock
            return await request.read()
        async with asyncio.timeout(BODY_WITHIN_S):
            return await request.read()
    except TimeoutError:
        raise HubError(f"The body did not arrive within {BODY_WITHIN_S:g} s.", code="bad_request") from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise HubError("The body cannot be read as its headers describe it.", code="bad_request") from None


# --- errors ---------------------------------------------------------------------------------------


def problem_document(error: HubError, request_id: str) -> dict[str, Any]:
    """Return *error* as a problem document (RFC 9457)."""
    row = PROBLEMS[error.code]
    document: dict[str, Any] = {
        "type": PROBLEM_TYPE + error.code,
        "title": row.title,
        "status": row.status,
        "detail": cut(_detail(error), DETAIL_LENGTH_MAX),
        "code": error.code,
        "request_id": request_id,
        **error.extra,
    }
    if error.errors:
        document["errors"] = [
            {"field": item.field, "message": item.message} for item in error.errors[:ERRORS_MAX]
        ]
    return document


def problem(error: HubError, request_id: str) -> web.Response:
    """Return *error* as `application/problem+json`."""
    document = problem_document(error, request_id)
    headers = {**error.headers, hdrs.CONTENT_TYPE: "application/problem+json"}
    return web.Response(status=error.status, body=orjson.dumps(document), headers=headers)


def _detail(error: HubError) -> str:
    """Return the error in words: of invalid fields at once which and why, for whoever prints only this."""
    if error.errors and error.detail == PROBLEMS[error.code].title:
        return " ".join(f"{item.field}: {item.message}" for item in error.errors[:ERRORS_MAX])
    return error.detail


def _from_aiohttp(error: web.HTTPException, request_id: str) -> web.StreamResponse:
    """Return what aiohttp's router or reader raised as a problem; redirects pass."""
    code = _CODE_OF_STATUS.get(error.status)
    if code is None:
        return problem(HubError(code="internal_error" if error.status >= 500 else "bad_request"), request_id)  # noqa: PLR2004
    headers = {str(hdrs.ALLOW): error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else {}
    return problem(HubError(code=code, headers=headers), request_id)


class WithoutRequests(logging.Filter):
    """Keeps out of the log what aiohttp's parser quotes of requests it cannot read: headers, and keys in them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Turn such a record into one plain line."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg = f"{record.msg}: it cannot be read ({type(error).__name__})"
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


def _count(
    hub: Services,
    endpoint: Endpoint | None,
    caller: Principal,
    response: web.StreamResponse,
    seconds: float,
) -> None:
    size = (
        len(response.body) if isinstance(response, web.Response) and isinstance(response.body, bytes) else 0
    )
    label = endpoint.label if endpoint is not None else "other"
    # A stream stays open as long as its reader likes: that is no latency.
    duration_s = seconds if isinstance(response, web.Response) else None
    hub.meters.answered(
        day=hub.clock.day(),
        key_id=caller.id,
        endpoint=label,
        status=response.status,
        duration_s=duration_s,
        size=size,
    )
