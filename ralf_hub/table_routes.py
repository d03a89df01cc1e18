"""The endpoint table as routes of aiohttp's router, and which web pages may call them."""

from collections.abc import Mapping

import aiohttp_cors
from aiohttp import HttpVersion11, hdrs, web

from ralf_hub.endpoint import Endpoint


def add_all(app: web.Application, endpoints: tuple[Endpoint, ...], origins: list[str]) -> None:
    """Add a route for each row; pages of *origins* may call them from a browser."""
    resources = {path: app.router.add_resource(path) for path in dict.fromkeys(e.path for e in endpoints)}
    routes = [add(resources[endpoint.path], endpoint) for endpoint in endpoints]
    _refuse_as_ids(resources, endpoints)
    if origins:
        _allow_origins(app, routes, origins)


def add(resource: web.Resource, endpoint: Endpoint) -> web.AbstractRoute:
    """Add the route of *endpoint*; the door finds the row on the handler and does the rest."""

    async def handle(_: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound  # never called: the door calls the row's own handler

    handle.endpoint = endpoint  # type: ignore[attr-defined]
    if endpoint.method == "GET" and not endpoint.raw:
        resource.add_route("HEAD", handle, expect_handler=_let_it_come)
    return resource.add_route(endpoint.method, handle, expect_handler=_let_it_come)


def _refuse_as_ids(resources: Mapping[str, web.Resource], endpoints: tuple[Endpoint, ...]) -> None:
    """Answer 405 where a path of its own, such as `/deliveries/replay`, would be taken for an id by a path beside it."""
    for path, resource in resources.items():
        offered = {endpoint.method for endpoint in endpoints if endpoint.path == path}
        beside = f"{path.rpartition('/')[0]}/{{id}}"

        async def refuse(
            request: web.Request, offered: frozenset[str] = frozenset(offered)
        ) -> web.StreamResponse:
            raise web.HTTPMethodNotAllowed(request.method, sorted(offered))

        for method in {endpoint.method for endpoint in endpoints if endpoint.path == beside} - offered:
            resource.add_route(method, refuse, expect_handler=_let_it_come)


async def _let_it_come(request: web.Request) -> None:
    """Say that the body may come where the client waits for that; other expectations may be ignored (RFC 9110, 10.1.1)."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


def _allow_origins(app: web.Application, routes: list[web.AbstractRoute], origins: list[str]) -> None:
    options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
        allow_credentials=False,
        allow_headers=(
            "Authorization",
            "X-API-Key",
            "Content-Type",
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "X-Request-ID",
        ),
        expose_headers=(
            "ETag",
            "Location",
            "X-Request-ID",
            "Idempotency-Replayed",
            "Retry-After",
            "RateLimit",
            "RateLimit-Policy",
        ),
        allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        max_age=600,
    )
    defaults: Mapping[str, aiohttp_cors.ResourceOptions] = dict.fromkeys(origins, options)
    cors = aiohttp_cors.setup(app, defaults=defaults)
    for route in routes:
        cors.add(route)
