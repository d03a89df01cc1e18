"""The document says what the hub does: it is valid, committed, and the answers fit it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from ralf_hub.endpoint import Endpoint
from ralf_hub.errors import PROBLEMS
from ralf_hub.handlers.openapi import body_name, encoded
from ralf_hub.handlers.samples import EXAMPLES, code_samples, example_path
from ralf_hub.handlers.table import ENDPOINTS
from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, Api, Reply
from tests.support import eventually

COMMITTED = Path(__file__).parents[2] / "openapi.json"
DOCUMENT = json.loads(encoded(ENDPOINTS))
SHOWN = [endpoint for endpoint in ENDPOINTS if endpoint.tag != "web"]
PLAIN = [endpoint for endpoint in SHOWN if not endpoint.raw]


def test_the_document_is_valid_openapi() -> None:
    assert not [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]


def test_the_committed_document_is_this_one() -> None:
    """A change of the interface is a visible change of the file: `python -m ralf_hub openapi > openapi.json`."""
    assert COMMITTED.read_bytes() == encoded(ENDPOINTS)


async def test_the_hub_serves_it(api: Api) -> None:
    reply = await api.call("GET", "/openapi.json", key=None)
    assert reply.body == encoded(ENDPOINTS)


def test_every_endpoint_stands_in_it() -> None:
    operations = {op["operationId"] for path in DOCUMENT["paths"].values() for op in path.values()}
    assert operations == {endpoint.name for endpoint in SHOWN}


def schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    )


@pytest.mark.parametrize("endpoint", [e for e in PLAIN if e.body is not None], ids=lambda e: e.name)
def test_examples_are_what_the_endpoint_takes(endpoint: Endpoint) -> None:
    assert endpoint.body is not None
    endpoint.body.model_validate(EXAMPLES[endpoint.name])
    schema(body_name(endpoint.body)).validate(EXAMPLES[endpoint.name])


async def _answers(api: Api) -> dict[str, Reply]:
    """Call every plain endpoint with its example, in an order in which all of them work."""
    await api.task(id="T-1", feature_id="F-1")
    await api.task(id="T-2")
    await eventually(lambda: api.hub.meters.deliveries.get("console"))
    key_id = (await api.post("/keys", EXAMPLES["createKey"])).json["id"]
    job = (await api.post("/deliveries/replay", {"state": "delivered"})).json["job"]["id"]
    found: dict[str, Reply] = {}
    late = {"cancelTask": 1, "revokeKey": 1, "cancelDelivery": 1, "releaseTask": 2, "cancelJob": 1}
    for endpoint in sorted(PLAIN, key=lambda e: late.get(e.name, 0)):
        path = example_path(endpoint)
        if endpoint.path == "/api/v1/keys/{id}":
            path = f"/api/v1/keys/{key_id}"
        if endpoint.path == "/api/v1/jobs/{id}":
            path = f"/api/v1/jobs/{job}"
        body = EXAMPLES.get(endpoint.name)
        given: dict[str, Any] = {} if body is None else {"body": body}
        found[endpoint.name] = await api.call(endpoint.method, path, **given)
    return found


async def test_every_answer_fits_its_schema(start: Start) -> None:
    api = await start(connectors={"console": {}})
    answers = await _answers(api)
    conflicts = {"cancelDelivery", "cancelJob", "prolongLease", "releaseTask"}
    for endpoint in PLAIN:
        reply = answers[endpoint.name]
        responses = DOCUMENT["paths"][endpoint.path.replace(":.+", "")][endpoint.method.lower()]["responses"]
        assert str(reply.status) in responses, (endpoint.name, reply.status, reply.body)
        if endpoint.name not in conflicts:
            assert reply.status in {endpoint.status, 200, 204}, (endpoint.name, reply.status, reply.body)
        if reply.status >= 400:
            schema("Problem").validate(reply.json)
        elif endpoint.answer and reply.body:
            schema(endpoint.answer).validate(reply.json)


def test_every_problem_an_endpoint_names_is_in_the_table() -> None:
    assert {code for endpoint in ENDPOINTS for code in endpoint.errors} <= set(PROBLEMS)


RUNNERS = {
    "curl": (["bash", "-c"], None),
    "Python": ([sys.executable, "-c"], None),
    "JavaScript": (["node", "--input-type=module", "-e"], "node"),
    "Go": (["go", "run"], "go"),
}


@pytest.mark.journey
@pytest.mark.parametrize("language", RUNNERS)
async def test_code_samples_run(start: Start, tmp_path: Path, language: str) -> None:
    command, program = RUNNERS[language]
    if shutil.which(program or command[0]) is None:
        pytest.skip(f"{program or command[0]} is not on this machine")
    api = await start(connectors={"console": {}})
    await api.task(id="T-1", feature_id="F-1")
    env = {**os.environ, "RALF_HUB": str(api.client.make_url("/")).rstrip("/"), "RALF_KEY": EVERYTHING}
    wanted = ("listTasks", "createTask", "getTask", "changeTask", "noteProgress", "listEvents", "emitEvent")
    for endpoint in (e for e in PLAIN if e.name in wanted):
        source = next(s["source"] for s in code_samples(endpoint) if s["label"] == language)
        if language == "Go":
            file = tmp_path / f"{endpoint.name}.go"
            file.write_text(source)
            source = str(file)
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, source],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (endpoint.name, done.stderr)
        assert json.loads(done.stdout), endpoint.name
        assert "problems/" not in done.stdout
