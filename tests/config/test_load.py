from pathlib import Path

import pytest

from ralf_hub.config import load
from ralf_hub.errors import SettingsError, SettingsProblem

CHECKOUT = Path(__file__).parents[2]


def write(folder: Path, text: str, name: str = "ralf-hub.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(
    folder: Path, text: str, env: dict[str, str] | None = None, name: str = "ralf-hub.toml"
) -> dict[str, SettingsProblem]:
    with pytest.raises(SettingsError) as caught:
        load(write(folder, text, name), env or {})
    return {problem.key: problem for problem in caught.value.problems}


def test_the_default_runs_with_nothing_else() -> None:
    loaded = load(CHECKOUT / "ralf-hub.toml", {})
    assert loaded.warnings == ()
    assert loaded.settings.api.host == "127.0.0.1"
    assert loaded.settings.api.port == 8080
    assert loaded.settings.database.path == CHECKOUT / "var/ralf-hub.db"
    assert loaded.settings.workspace.path == CHECKOUT / "var/workspace"
    assert loaded.settings.workspace.sample
    assert list(loaded.settings.connectors) == ["console"]
    assert loaded.settings.connectors["console"].events == ("*",)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        [api]
        prot = 8080
        port = "abc"
        [connectors.consol]
        [delivery]
        timeout_s = 0
        """,
    )
    assert {key: problem.message for key, problem in found.items()} == {
        "api.prot": "is not a key of these settings",
        "api.port": "must be a whole number",
        "connectors.consol": "there is no connector of that type",
        "delivery.timeout_s": "must be at least 0.1",
    }
    assert found["api.prot"].remedy == "did you mean port?"
    assert found["api.port"].remedy.startswith("write port = 8080 or the like")
    assert found["connectors.consol"].remedy == "did you mean console?"
    assert all(problem.file == str(tmp_path / "ralf-hub.toml") for problem in found.values())
