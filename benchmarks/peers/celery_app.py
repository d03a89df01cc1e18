"""FastAPI + Celery + Redis.

https://docs.celeryq.dev/en/stable/userguide/optimizing.html and .../getting-started/backends-and-brokers/redis.html;
acks_late, so that a worker that is killed loses nothing; Redis writes its AOF every second, as
https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/ recommends.
"""

import os
from typing import Any

import requests
from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.common import SINK, TIMEOUT_S, body_of, headers_of

celery = Celery("peers", broker=os.environ["PEER_REDIS"])
celery.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_connection_retry_on_startup=True,
)
session = requests.Session()


@celery.task(autoretry_for=(requests.RequestException,), retry_backoff=True, max_retries=10)
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
    """Take a task: it is in Redis when this answers."""
    deliver.delay(task.model_dump())
    return task
