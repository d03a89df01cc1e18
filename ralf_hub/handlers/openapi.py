"""`/openapi.json`, made from the endpoint table: routes, parameters, bodies, problems, security, code samples."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import BaseModel

from ralf_hub import __version__
from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.errors import PROBLEMS
from ralf_hub.handlers.samples import EXAMPLES, PATH_EXAMPLES, code_samples
from ralf_hub.handlers.schemas import SCHEMAS, Schema, ref

USUAL: Final = (
    "invalid_parameter",
    "missing_key",
    "invalid_key",
    "invalid_token",
    "missing_scope",
    "rate_limited",
    "storage_unavailable",
    "identity_unavailable",
)
IDEMPOTENCY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request with the same key gets the same answer, for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
IF_MATCH: Final[Schema] = {
    "name": "If-Match",
    "in": "header",
    "description": "The task's ETag: 412 where it has changed since, or where this names no version.",
    "schema": {"type": "string", "minLength": 1},
}
LINKS: Final[Mapping[str, Schema]] = {
    "replayDeliveries": {
        "job": {"operationId": "getJob", "parameters": {"id": "$response.body#/job/id"}},
        "stop": {"operationId": "cancelJob", "parameters": {"id": "$response.body#/job/id"}},
    },
}
"""Operation -> what can be done next with what it answered."""
_HIDDEN: Final = frozenset({"web"})
_PARAMETER: Final = re.compile(r"\{(\w+)(?::[^}]*)?\}")


@cache
def document(table: tuple[Endpoint, ...]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the endpoints in *table*."""
    schemas: dict[str, Schema] = {**SCHEMAS}
    paths: dict[str, dict[str, Any]] = {}
    shown = [endpoint for endpoint in table if endpoint.tag not in _HIDDEN]
    for endpoint in shown:
        operations = paths.setdefault(_PARAMETER.sub(r"{\1}", endpoint.path), {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ralf-hub",
            "version": __version__,
            "summary": "The door between RALF and the outside world.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "this hub"}],
        "security": [{"bearer": []}, {"header": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in shown)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or access token."},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Schema]) -> dict[str, Any]:
    scope = f" Needs the scope `{endpoint.scope}`." if endpoint.scope else ""
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": f"{(endpoint.handler.__doc__ or '').strip()}{scope}",
        "responses": _responses(endpoint),
    }
    if endpoint.scope is None:
        operation["security"] = []
    if parameters := list(_parameters(endpoint)):
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            # An empty body is one without fields.
            "required": any(field.is_required() for field in endpoint.body.model_fields.values()),
            "content": {"application/json": {"schema": _model(endpoint.body, schemas), **_example(endpoint)}},
        }
    if endpoint.form is not None:
        content = {"application/x-www-form-urlencoded": {"schema": _model(endpoint.form, schemas)}}
        operation["requestBody"] = {"required": True, "content": content}
    if not endpoint.raw:
        operation["x-codeSamples"] = code_samples(endpoint)
    return operation


def _example(endpoint: Endpoint) -> dict[str, Any]:
    return {"example": EXAMPLES[endpoint.name]} if endpoint.name in EXAMPLES else {}


def body_name(model: type[BaseModel]) -> str:
    """Return the name of a body's schema; where an answer has that name, it is the request of the two."""
    return f"{model.__name__}Request" if model.__name__ in SCHEMAS else model.__name__


def _model(model: type[BaseModel], schemas: dict[str, Schema]) -> Schema:
    """Put the schema of a body into *schemas* and return a reference to it."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, inner in schema.pop("$defs", {}).items():
        schemas.setdefault(name, inner)
    name = body_name(model)
    schemas[name] = schema
    return ref(name)


def _parameters(endpoint: Endpoint) -> Iterator[Schema]:
    for name in _PARAMETER.findall(endpoint.path):
        number = endpoint.path.startswith("/api/v1/deliveries/")
        kind: Schema = {"type": "integer", "minimum": 1} if number else {"type": "string", "minLength": 1}
        example = PATH_EXAMPLES.get(endpoint.path)
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": kind,
            **({"example": example} if example else {}),
        }
    if endpoint.query is not None:
        schema = endpoint.query.model_json_schema()
        needed = schema.get("required", [])
        for name, field in schema.get("properties", {}).items():
            described = {key: value for key, value in field.items() if key not in {"title", "description"}}
            yield {
                "name": name,
                "in": "query",
                "required": name in needed,
                "description": field.get("description", ""),
                "schema": _without_null(described),
            }
    if endpoint.method == "POST" and not endpoint.raw:
        yield IDEMPOTENCY
    if "version_mismatch" in endpoint.errors:
        yield IF_MATCH


def _without_null(field: Schema) -> Schema:
    """Return *field* without the choice null: a parameter is left out, never null."""
    choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    rest = {
        key: value
        for key, value in field.items()
        if key != "anyOf" and not (key == "default" and value is None)
    }
    return {**rest, **choices[0]} if len(choices) == 1 else ({**rest, "anyOf": choices} if choices else rest)


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {str(endpoint.status): _success(endpoint)}
    if endpoint.name == "claimTask":
        responses["204"] = {"description": "There is nothing to take."}
    if endpoint.name == "replayDeliveries":
        responses["200"] = {"description": "Only counted: `dry_run` was set.", "content": _json("BulkReplay")}
    if endpoint.name == "health":
        responses["503"] = {"description": "Something needs a person.", "content": _json("Health")}
    if endpoint.name == "issueToken":
        refused = {"description": "Refused (RFC 6749, 5.2).", "content": _json("OAuthError")}
        responses |= {"400": refused, "401": refused}
    if endpoint.tag == "webhooks" and endpoint.status == HTTPStatus.ACCEPTED:
        responses["200"] = {"description": "Taken before; the same ids again."}
    usual = () if endpoint.scope is None else USUAL
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*endpoint.errors, *usual, *_of_input(endpoint))):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        responses.setdefault(
            str(status),
            {
                "description": ", ".join(codes),
                "content": {"application/problem+json": {"schema": ref("Problem")}},
            },
        )
    return responses


def _of_input(endpoint: Endpoint) -> tuple[str, ...]:
    body = (
        ("invalid_json", "body_too_large", "unsupported_media_type", "validation_failed")
        if endpoint.body
        else ()
    )
    again = ("idempotency_mismatch",) if endpoint.method == "POST" and not endpoint.raw else ()
    return (*body, *again)


def _success(endpoint: Endpoint) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.answer:
        answer["content"] = _json(endpoint.answer)
    if endpoint.name in LINKS:
        answer["links"] = LINKS[endpoint.name]
    return answer


def _json(name: str) -> Mapping[str, Any]:
    return {"application/json": {"schema": ref(name)}}


def encoded(table: tuple[Endpoint, ...]) -> bytes:
    """Return the document as it is served and committed."""
    return orjson.dumps(document(table), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


async def show_document(call: Call) -> Answer:
    """Answer with this document."""
    from ralf_hub.handlers.table import ENDPOINTS as TABLE  # noqa: PLC0415 - the table lists this file

    del call
    return Answer(200, encoded(TABLE))


ENDPOINTS = (
    Endpoint("GET", "/openapi.json", "openapi", "The API as an OpenAPI document", show_document, None, "web"),
)
