"""Holds every request a double gets to the service's own OpenAPI description, which lies in ../shared/specs.

It fails closed: a path, method, parameter or body the description does not know is a violation. The descriptions are
not part of this repository (`RALF_HUB_SHARED` says where they are); where they are absent nothing is checked, and the
tests that rest on it say so.
"""

import json
import os
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest

from tests.doubles.server import Seen

SHARED = Path(os.environ.get("RALF_HUB_SHARED", Path(__file__).parents[3] / "shared"))
SPECS = SHARED / "specs"

needs_specs = pytest.mark.skipif(
    not SPECS.is_dir(), reason=f"the services' descriptions are not at {SPECS}: requests are not checked"
)


class Contract:
    """One service's description, `spec` below the folder of specs, as reached at `host`.

    `more` are paths the file leaves out, written by hand after the service's documentation.
    """

    def __init__(self, spec: str, host: str, more: Mapping[str, Any] | None = None) -> None:
        self._spec, self._more = spec, json.dumps(more or {})
        self._openapi = _load(spec, self._more)
        self._host = host

    @property
    def name(self) -> str:
        """The service, as its description's folder is called."""
        return self._spec.partition("/")[0]

    def description(self) -> dict[str, Any]:
        """Return the whole description as it is checked."""
        return _read(self._spec, self._more)

    def violation(self, seen: Seen) -> str | None:
        """Return what is wrong with a request; None where nothing is, or nothing can be checked."""
        if self._openapi is None:
            return None
        asked = MockRequest(
            self._host,
            seen.method.lower(),
            seen.raw_path or seen.path,
            args=dict(seen.query),
            headers=dict(seen.headers),
            data=seen.body or None,
            content_type=seen.headers.get("content-type", "").partition(";")[0],
        )
        try:
            with warnings.catch_warnings():
                # OAuth is for the doubles to judge: openapi-core only says that it cannot.
                warnings.filterwarnings("ignore", "Unsupported scheme type")
                self._openapi.validate_request(asked)
        except OpenAPIError as error:
            return f"{seen.method} {seen.path}: {_words(error)}"
        return None


@cache
def _load(spec: str, more: str) -> OpenAPI | None:
    if not (SPECS / spec).is_file():
        return None
    # Without the check of the description itself: some services' own files do not pass it.
    return OpenAPI.from_dict(_read(spec, more), config=Config(spec_validator_cls=None))


def _read(spec: str, more: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((SPECS / spec).read_text(encoding="utf-8"))
    described["paths"].update(json.loads(more))
    return described


def _words(error: BaseException) -> str:
    """Say all of an error: openapi-core keeps the schema's own words in the causes."""
    said, seen = [], error
    while seen is not None and len(said) < 5:
        said.append(str(seen))
        said += [str(problem.message) for problem in getattr(seen, "schema_errors", ())]
        seen = seen.__cause__
    return "; ".join(said)
