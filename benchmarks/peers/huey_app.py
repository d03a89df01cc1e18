"""FastAPI + Huey on SQLite: https://huey.readthedocs.io/en/latest/consumer.html, `fsync` for durability."""

import os
from typing import Any

import requests
from fastapi import FastAPI
from huey import SqliteHuey
from pydantic import BaseModel

from benchmarks.peers.common import SINK, TIMEOUT_S, body_of, headers_of

huey = SqliteHuey("peers", filename=os.environ["PEER_HUEY"], results=False, fsync=True)
session = requests.Session()


@huey.task(retries=10, retry_delay=5)
def deliver(task: dict[str, Any]) -> None:
    """Post one webhook."""
    body = body_of(task)
    headers = headers_of(task["id"], body)
    session.post(SINK, data=body, headers=headers, timeout=TIMEOUT_S).raise_for_status()


class Task(BaseModel):
    """What is posted."""

    id: str
    title: str
    priority: str = "medium"


app = FastAPI()


@app.post("/tasks", status_code=201)
def create(task: Task) -> Task:
    """Take a task: it is in SQLite when this answers."""
    deliver(task.model_dump())
    return task
