"""The processes a benchmark needs beside the hub: the ceiling it is held against, and a sink that counts.

python -m benchmarks.servers bare PORT STATUS FILE     answers every request with the bytes of FILE
python -m benchmarks.servers sink PORT                 takes posts, notes when each webhook-id came
"""

import asyncio
import sys
import time
from pathlib import Path

import orjson
import uvloop
from aiohttp import web


def bare(status: int, body: bytes) -> web.Application:
    """Serve with aiohttp and nothing else: what the hub could be at best."""

    async def answer(request: web.Request) -> web.Response:
        if request.body_exists:
            await request.read()
        return web.Response(status=status, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def sink() -> web.Application:
    """Answers 204 and remembers when each id came first; GET /seen tells and forgets."""
    seen: dict[str, int] = {}
    posts = 0

    async def take(request: web.Request) -> web.Response:
        nonlocal posts
        body = orjson.loads(await request.read())
        posts += 1
        seen.setdefault(body.get("data", {}).get("task_id") or "", time.time_ns())
        return web.Response(status=204)

    async def tell(_: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps({"posts": posts, "unique": len(seen)}))

    async def dump(_: web.Request) -> web.Response:
        nonlocal posts
        answer = orjson.dumps({"posts": posts, "seen": seen})
        seen.clear()
        posts = 0
        return web.Response(body=answer)

    app = web.Application()
    app.add_routes([web.get("/count", tell), web.get("/seen", dump), web.post("/{path:.*}", take)])
    return app


async def main(app: web.Application) -> None:
    """Serve until killed."""
    port = int(sys.argv[2])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        served = sink() if sys.argv[1] == "sink" else bare(int(sys.argv[3]), Path(sys.argv[4]).read_bytes())
        loop.run(main(served))
