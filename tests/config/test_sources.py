import os
from pathlib import Path

import pytest

from ralf_hub.config import at, load, locate
from ralf_hub.config.sources import FILE_BYTES_MAX
from ralf_hub.errors import SettingsError
from tests.config.helpers import CHECKOUT, write

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    cwd, home = tmp_path / "cwd", tmp_path / "home"
    cwd.mkdir()
    (home / ".blackbox5").mkdir(parents=True)
    return cwd, home


def test_the_first_that_exists_is_taken(places: tuple[Path, Path]) -> None:
    cwd, home = places
    order = [home / ".blackbox5/api-config.yaml", home / ".blackbox5/ralf-hub.toml", cwd / "ralf-hub.toml"]
    default = locate(None, {}, cwd, home)
    assert default.embedded
    assert default.base == home / ".blackbox5"
    for path in order:
        path.write_text("")
        found = locate(None, {"RALF_HUB_CONFIG": ""}, cwd, home)
        assert (found.path, found.base, found.embedded) == (path, path.parent, False)
    (cwd / "other.toml").write_text("")
    (cwd / "third.toml").write_text("")
    assert locate(None, {"RALF_HUB_CONFIG": "other.toml"}, cwd, home).path == cwd / "other.toml"
    assert locate("third.toml", {"RALF_HUB_CONFIG": "other.toml"}, cwd, home).path == cwd / "third.toml"


def test_a_tilde_is_the_home_folder(places: tuple[Path, Path]) -> None:
    cwd, home = places
    path = write(home, "")
    assert locate("~/ralf-hub.toml", {}, cwd, home).path == path


def test_a_named_file_must_exist(places: tuple[Path, Path]) -> None:
    cwd, home = places
    for explicit, env, key in [
        ("no.toml", {}, "--config"),
        (None, {"RALF_HUB_CONFIG": "no.toml"}, "$RALF_HUB_CONFIG"),
    ]:
        with pytest.raises(SettingsError) as caught:
            locate(explicit, env, cwd, home)
        (problem,) = caught.value.problems
        assert problem.key == key
        assert problem.file == str(cwd / "no.toml")
        assert "ralf-hub init" in problem.remedy


def test_the_embedded_default_keeps_its_files_in_the_home_folder(places: tuple[Path, Path]) -> None:
    cwd, home = places
    loaded = load(locate(None, {}, cwd, home), {})
    assert loaded.source.embedded
    assert loaded.path == CHECKOUT / "ralf-hub.toml"
    assert loaded.settings.database.path == home / ".blackbox5/var/ralf-hub.db"


def test_relative_paths_start_at_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = (
        '[database]\npath = "data/hub.db"\n[workspace]\npath = "~/ralf"\nevents_file = "/srv/events.yaml"\n'
    )
    settings = load(write(tmp_path, text), {}).settings
    assert settings.database.path == tmp_path / "data/hub.db"
    assert settings.workspace.path == tmp_path / "home/ralf"
    assert settings.workspace.events_file == Path("/srv/events.yaml")


def refused(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path, {})
    (problem,) = caught.value.problems
    assert problem.file.startswith(str(path))
    return problem.message


def test_what_is_no_readable_file(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    (tmp_path / "latin.toml").write_bytes(b"# gr\xfc\xdfe\n")
    (tmp_path / "big.toml").write_text("#" * FILE_BYTES_MAX + "\n")
    assert refused(tmp_path / "none.toml") == "does not exist"
    assert refused(tmp_path / "none.toml" / "below.toml") == "does not exist"
    assert refused(tmp_path / "folder.toml") == "is a folder"
    assert refused(tmp_path / "pipe.toml") == "is not a regular file"
    assert refused(tmp_path / "loop.toml") == "is a loop of symbolic links"
    assert refused(tmp_path / "latin.toml") == "is not UTF-8 text (line 1)"
    assert refused(tmp_path / "big.toml") == "is larger than 256 KiB"
    assert refused(Path("/dev/zero")) == "is not a regular file"


@pytest.mark.skipif(AS_ROOT, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.chmod(0)
    assert refused(path) == "may not be read by this user"


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", ""), ("a.yaml", ""), ("a.yml", "# nothing\n"), ("a.yaml", "\ufeffapi:\n")]
)
def test_an_empty_file_has_the_defaults(tmp_path: Path, name: str, text: str) -> None:
    settings = load(write(tmp_path, text, name), {}).settings
    assert settings.api.port == 8080
    assert settings.connectors == {}


@pytest.mark.parametrize("text", ["- a\n", "text\n", "42\n", "true\n"])
def test_the_root_must_be_a_table(tmp_path: Path, text: str) -> None:
    assert refused(write(tmp_path, text, "a.yaml")) == "must be a table of sections"


def test_a_source_knows_its_language() -> None:
    assert [at(Path(name)).is_yaml for name in ("a.yaml", "a.YML", "a.toml", "a")] == [
        True,
        True,
        False,
        False,
    ]
