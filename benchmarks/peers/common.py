"""What all peers share: the signed webhook that is to be made of a task. Standard library only."""

import base64
import hashlib
import hmac
import json
import os
import time
from typing import Any

SINK = os.environ.get("PEER_SINK", "")
SECRET = base64.b64decode("YmVuY2htYXJrLXNlY3JldC1vbmx5")
TIMEOUT_S = 30


def body_of(task: dict[str, Any]) -> bytes:
    """Return the body that tells of *task*, as the hub's does."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    data = {"task_id": task["id"], "task": {**task, "status": "pending", "created_at": moment}}
    return json.dumps({"type": "task_created", "timestamp": moment, "data": data}).encode()


def headers_of(task_id: str, body: bytes) -> dict[str, str]:
    """Return the headers that sign *body* (https://www.standardwebhooks.com)."""
    moment = str(int(time.time()))
    signed = hmac.new(SECRET, f"{task_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": task_id,
        "webhook-timestamp": moment,
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
    }
