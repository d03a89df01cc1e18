"""Runs the application so that requests which cannot even be read are answered as all others are.

aiohttp's parser refuses those before any middleware sees them, with a line of plain text of its own.
"""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from ralf_hub.clock import system_token
from ralf_hub.errors import HubError
from ralf_hub.middleware import SECURITY_HEADERS, problem

HEADER_BYTES_MAX: Final = 16 * 1024
"""The longest request line, and the longest header."""
_CODES: Final[Mapping[int, str]] = {400: "bad_request", 413: "body_too_large"}


class _Protocol(web.RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the problem; the connection ends with it. ConnectionError where an answer has begun already."""
        super().handle_error(request, status, exc, message)  # tells the log
        request_id = system_token(12)
        response = problem(HubError(code=_CODES.get(status, "internal_error")), request_id)
        response.headers.update({**SECURITY_HEADERS, "X-Request-ID": request_id})
        response.force_close()
        return response


class _Server(web.Server):
    """All connections."""

    def __call__(self) -> web.RequestHandler:
        """Return what speaks on a new connection."""
        protocol = super().__call__()
        protocol.__class__ = _Protocol
        return protocol


class HubRunner(web.AppRunner):
    """An `AppRunner` whose connections are those above. aiohttp offers no place to name their class."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        return server
