"""FastAPI + procrastinate + PostgreSQL: https://procrastinate.readthedocs.io, all asynchronous."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import aiohttp
from fastapi import FastAPI
from procrastinate import App, PsycopgConnector, RetryStrategy
from pydantic import BaseModel

from benchmarks.peers.common import SINK, TIMEOUT_S, body_of, headers_of

queue = App(connector=PsycopgConnector(conninfo=os.environ["PEER_POSTGRES"]))


@cache
def session() -> aiohttp.ClientSession:
    """Return the one session of a worker."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S))


@queue.task(retry=RetryStrategy(max_attempts=10, exponential_wait=2))
async def deliver(task: dict[str, Any]) -> None:
    """Post one webhook."""
    body = body_of(task)
    async with session().post(SINK, data=body, headers=headers_of(task["id"], body)) as answer:
        answer.raise_for_status()


class Task(BaseModel):
    """What is posted."""

    id: str
    title: str
    priority: str = "medium"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Keep the pool of connections open while serving."""
    async with queue.open_async():
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/tasks", status_code=201)
async def create(task: Task) -> Task:
    """Take a task: it is in PostgreSQL when this answers."""
    await deliver.defer_async(task=task.model_dump())
    return task
