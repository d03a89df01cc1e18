"""Examples of requests, and each endpoint's call in curl, Python, JavaScript and Go. A test runs every one."""

import re
from typing import Any, Final

import orjson

from ralf_hub.endpoint import Endpoint

EXAMPLES: Final[dict[str, Any]] = {
    "createTask": {"title": "Prepare the release", "priority": "high"},
    "putTask": {"status": "in_progress"},
    "changeTask": {"priority": "critical"},
    "noteProgress": {"percent": 40, "note": "half of the tests are green"},
    "claimTask": {"agent": "ralf-1", "lease_s": 300},
    "prolongLease": {"task_id": "T-1", "agent": "ralf-1", "lease_s": 300},
    "releaseTask": {"task_id": "T-1", "agent": "ralf-1"},
    "emitEvent": {"type": "nightly_build", "data": {"result": "green"}},
    "replayDeliveries": {"state": "dead", "dry_run": True},
    "dryRunConnector": {"event": "task_completed"},
    "notifyConnector": {"text": "The hub says hello."},
    "createKey": {"name": "dashboard", "scopes": ["tasks:read", "events:read"]},
}
"""A body for every endpoint that takes one."""

PATH_EXAMPLES: Final = {
    "/api/v1/tasks/{id}": "T-1",
    "/api/v1/tasks/{id}/progress": "T-1",
    "/api/v1/features/{id}": "F-1",
    "/api/v1/deliveries/{id}": 1,
    "/api/v1/deliveries/{id}/replay": 1,
    "/api/v1/deliveries/{id}/cancel": 1,
    "/api/v1/connectors/{name}/test": "console",
    "/api/v1/connectors/{name}/pause": "console",
    "/api/v1/connectors/{name}/resume": "console",
    "/api/v1/connectors/{name}/notify": "console",
    "/api/v1/connectors/{name}/dry-run": "console",
}
_PARAMETER: Final = re.compile(r"\{(\w+)(?::[^}]*)?\}")


def example_path(endpoint: Endpoint) -> str:
    """Return the path with its example in place of the parameter."""
    example = PATH_EXAMPLES.get(endpoint.path)
    return _PARAMETER.sub(lambda match: str(example if example is not None else match[1]), endpoint.path)


def code_samples(endpoint: Endpoint) -> list[dict[str, str]]:
    """Return the call in four languages; `RALF_HUB` is the hub's address, `RALF_KEY` the key."""
    path, method = example_path(endpoint), endpoint.method
    body = orjson.dumps(EXAMPLES[endpoint.name]).decode() if endpoint.name in EXAMPLES else None
    return [
        {"lang": "Shell", "label": "curl", "source": _curl(method, path, body)},
        {"lang": "Python", "label": "Python", "source": _python(method, path, body)},
        {"lang": "JavaScript", "label": "JavaScript", "source": _javascript(method, path, body)},
        {"lang": "Go", "label": "Go", "source": _go(method, path, body)},
    ]


def _curl(method: str, path: str, body: str | None) -> str:
    lines = [f'curl -sS -X {method} "$RALF_HUB{path}"', '  -H "Authorization: Bearer $RALF_KEY"']
    if body is not None:
        quoted = body.replace("'", "'\\''")
        lines += ['  -H "Content-Type: application/json"', f"  -d '{quoted}'"]
    return " \\\n".join(lines)


def _python(method: str, path: str, body: str | None) -> str:
    data = f", data={body!r}.encode()" if body is not None else ""
    kind = ', "Content-Type": "application/json"' if body is not None else ""
    return (
        "import os, urllib.request\n\n"
        "request = urllib.request.Request(\n"
        f'    os.environ["RALF_HUB"] + "{path}", method="{method}"{data},\n'
        f'    headers={{"Authorization": "Bearer " + os.environ["RALF_KEY"]{kind}}},\n'
        ")\n"
        "with urllib.request.urlopen(request) as answer:\n"
        "    print(answer.read().decode())\n"
    )


def _javascript(method: str, path: str, body: str | None) -> str:
    kind = ', "Content-Type": "application/json"' if body is not None else ""
    data = f"  body: JSON.stringify({body}),\n" if body is not None else ""
    return (
        f'const answer = await fetch(process.env.RALF_HUB + "{path}", {{\n'
        f'  method: "{method}",\n'
        f"  headers: {{ Authorization: `Bearer ${{process.env.RALF_KEY}}`{kind} }},\n"
        f"{data}"
        "});\n"
        "if (!answer.ok) throw new Error(await answer.text());\n"
        "console.log(await answer.text());\n"
    )


def _go(method: str, path: str, body: str | None) -> str:
    reader = f"strings.NewReader(`{body}`)" if body is not None else "nil"
    imports = '\t"fmt"\n\t"io"\n\t"net/http"\n\t"os"\n' + ('\t"strings"\n' if body is not None else "")
    kind = '\trequest.Header.Set("Content-Type", "application/json")\n' if body is not None else ""
    return (
        f"package main\n\nimport (\n{imports})\n\nfunc main() {{\n"
        f'\trequest, _ := http.NewRequest("{method}", os.Getenv("RALF_HUB")+"{path}", {reader})\n'
        '\trequest.Header.Set("Authorization", "Bearer "+os.Getenv("RALF_KEY"))\n'
        f"{kind}"
        "\tanswer, err := http.DefaultClient.Do(request)\n"
        "\tif err != nil {\n\t\tpanic(err)\n\t}\n"
        "\tdefer answer.Body.Close()\n"
        "\ttext, _ := io.ReadAll(answer.Body)\n"
        "\tif answer.StatusCode >= 400 {\n\t\tpanic(string(text))\n\t}\n"
        "\tfmt.Println(string(text))\n}\n"
    )
