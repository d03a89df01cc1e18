"""Writing settings files and reading what is said about them."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from ralf_hub.config import Loaded, load
from ralf_hub.errors import SettingsError, SettingsProblem

CHECKOUT = Path(__file__).parents[2]
SLACK_URL = "https://hooks.slack.com/services/T000/B000/canaryXXXXXXXX"


def write(folder: Path, text: str, name: str = "ralf-hub.toml") -> Path:
    path = folder / name
    path.write_text(dedent(text))
    path.chmod(0o600)
    return path


def good(
    folder: Path, text: str, env: Mapping[str, str] | None = None, name: str = "ralf-hub.toml"
) -> Loaded:
    return load(write(folder, text, name), env or {})


def problems(
    folder: Path, text: str, env: Mapping[str, str] | None = None, name: str = "ralf-hub.toml"
) -> dict[str, SettingsProblem]:
    """Return the fatal problems by key."""
    with pytest.raises(SettingsError) as caught:
        load(write(folder, text, name), env or {})
    return {problem.key: problem for problem in caught.value.problems if problem.fatal}


def warnings(loaded: Loaded) -> dict[str, str]:
    """Return the warnings' messages by key."""
    assert not any(problem.fatal for problem in loaded.warnings)
    return {problem.key: problem.message for problem in loaded.warnings}
