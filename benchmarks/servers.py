"""The ceilings a hub is held against, each a process of its own.

python -m benchmarks.servers bare PORT STATUS FILE     aiohttp answering every request with the bytes of FILE
python -m benchmarks.servers client 0 URL N            aiohttp posting what stands in stdin N times, 64 at a time
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

AT_A_TIME = 64


def bare(status: int, body: bytes) -> web.Application:
    """Serve with aiohttp and nothing else: what the hub could be at best."""

    async def answer(request: web.Request) -> web.Response:
        if request.body_exists:
            await request.read()
        return web.Response(status=status, body=body, content_type="application/json")

    app = web.Application(client_max_size=2**20)
    app.router.add_route("*", "/{path:.*}", answer)
    return app


async def serve(app: web.Application, port: int) -> None:
    """Serve until killed."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


async def post(url: str, n: int, body: bytes) -> dict[str, float]:
    """Post *body* *n* times as fast as the library does, with what makes it fastest; say what it took."""
    left, failed = n, 0
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=AT_A_TIME),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        headers=headers,
    ) as session:

        async def worker() -> None:
            nonlocal left, failed
            while left > 0:
                left -= 1
                async with session.post(url, data=body, allow_redirects=False) as answer:
                    await answer.read()
                    failed += answer.status != 204

        begun, spent = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(AT_A_TIME)))
        return {
            "seconds": time.perf_counter() - begun,
            "cpu_s": time.process_time() - spent,
            "failed": failed,
        }


def main(kind: str, port: str, *rest: str) -> None:
    """Run one of them."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        if kind == "client":
            url, n = rest
            print(json.dumps(loop.run(post(url, int(n), sys.stdin.buffer.read()))))
        else:
            status, file = rest
            loop.run(serve(bare(int(status), Path(file).read_bytes()), int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
