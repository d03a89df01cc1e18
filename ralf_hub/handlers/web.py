"""The dashboard and the API explorer: static files from the package, read once; nothing comes from another host."""

import hashlib
import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.errors import NotFoundError

PAGE: Final = "index.html"
EXPLORER: Final = "docs.html"
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES: Final = {
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is served."""

    body: bytes
    headers: Mapping[str, str]
    content_type: str


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif not entry.name.startswith((".", "_")):
            yield prefix + entry.name, entry


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Return every file of `ralf_hub/web` by its path."""
    return {
        name: _file(name, entry.read_bytes()) for name, entry in _walk(resources.files("ralf_hub") / "web")
    }


def _file(name: str, body: bytes) -> StaticFile:
    suffix = "." + name.rpartition(".")[2]
    kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    headers = {
        "ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"',
        "Cache-Control": "no-cache",  # asked for again with the ETag: an upgrade is seen at once
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    }
    return StaticFile(body, headers, kind)


def _answer(call: Call, name: str) -> Answer:
    file = static_files().get(name)
    if file is None:
        raise NotFoundError
    if call.request.headers.get("If-None-Match") == file.headers["ETag"]:
        return Answer(304, headers=file.headers)
    return Answer(200, file.body, file.headers, file.content_type)


async def page(call: Call) -> Answer:
    """Answer with the dashboard."""
    return _answer(call, PAGE)


async def explorer(call: Call) -> Answer:
    """Answer with the API explorer, which reads `/openapi.json`."""
    return _answer(call, EXPLORER)


async def static_file(call: Call) -> Answer:
    """Answer with one of the files of both pages."""
    return _answer(call, call.params["file"])


ENDPOINTS = (
    Endpoint("GET", "/", "dashboard", "The dashboard", page, None, "web"),
    Endpoint("GET", "/docs", "explorer", "The API explorer", explorer, None, "web"),
    Endpoint("GET", "/web/{file:.+}", "dashboardFile", "A file of the dashboard", static_file, None, "web"),
)
