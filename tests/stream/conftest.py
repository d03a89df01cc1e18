"""The stream is tested on the same hub as the API."""

from tests.api.conftest import api, start

__all__ = ["api", "start"]
