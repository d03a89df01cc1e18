"""The API against bare aiohttp answering the same bytes, in the same run."""

import tempfile
from pathlib import Path

from benchmarks.load import request, saturate
from benchmarks.report import Row, ratio_row
from benchmarks.setting import Bench

SECONDS = 3.0
CLIENTS = (1, 32, 128)
BODY = b'{"title":"Prepare the release","priority":"high","description":"Everything that has to be done before."}'


async def run(bench: Bench) -> list[Row]:
    """GET a task, POST a task: the hub with all its protections, and the same bytes without any of them."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        async with bench.hub(Path(folder)) as hub:
            task = await hub.ok("POST", "/api/v1/tasks", {"title": "Prepare the release", "priority": "high"})
            get = request("GET", f"/api/v1/tasks/{task['id']}", key=hub.key)
            post = request("POST", "/api/v1/tasks", BODY, key=hub.key)
            answer = Path(folder) / "answer.json"
            answer.write_bytes(await bench.raw(hub, f"/api/v1/tasks/{task['id']}"))
            async with bench.server("bare", "200", str(answer)) as bare:
                for name, data, status in (("GET task", get, 200), ("POST task, durable", post, 201)):
                    for clients in CLIENTS:
                        ours: list[float] = []
                        ceiling: list[float] = []
                        for _ in range(bench.runs):
                            for port, into, allowed in ((bare, ceiling, 200), (hub.port, ours, status)):
                                result = await saturate(
                                    port, lambda _, d=data: d, clients=clients, seconds=bench.seconds(SECONDS)
                                )
                                result.check(allowed)
                                into.append(result.rate)
                        rows.append(ratio_row(f"{name}, {clients} clients", ours, ceiling, unit="req/s"))
    return rows
