"""Flask posting inside the request, under gunicorn (https://docs.gunicorn.org/en/stable/design.html). Not durable."""

from typing import Any

import requests
from flask import Flask, request

from benchmarks.peers.common import SINK, TIMEOUT_S, body_of, headers_of

app = Flask(__name__)
session = requests.Session()


@app.post("/tasks")
def create() -> tuple[dict[str, Any], int]:
    """Take a task: it is delivered when this answers."""
    task = request.get_json()
    body = body_of(task)
    headers = headers_of(task["id"], body)
    session.post(SINK, data=body, headers=headers, timeout=TIMEOUT_S).raise_for_status()
    return task, 201
