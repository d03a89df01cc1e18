import os
from pathlib import Path

import pytest

from ralf_hub.workspace.layout import find_layout
from ralf_hub.workspace.records import WorkspaceMissingError
from tests.workspace.helpers import PROJECT, write


def modern(root: Path) -> Path:
    write(root, "tasks/active/TASK-1/task.md", "# T\n")
    write(root, ".autonomous/agents/communications/events.yaml")
    write(root, "plans/features/FEATURE-001-x.md", "# F-001: x\n")
    return root


def flat(root: Path) -> Path:
    write(root, ".autonomous/tasks/active/TASK-1-x.md", "# T\n")
    write(root, ".autonomous/communications/events.yaml")
    return root


@pytest.mark.parametrize(("build", "name"), [(modern, "modern"), (flat, "flat")])
@pytest.mark.parametrize("below", [Path(), PROJECT, Path("blackbox5"), Path("5-project-memory", "other")])
def test_any_level_may_be_given(tmp_path, build, name, below):
    project = build(tmp_path / below)
    given = tmp_path if below.parts[:1] in {(), ("5-project-memory",)} else project
    layout = find_layout(given)
    assert (layout.name, layout.project, layout.root) == (name, project, given)
    assert layout.events is not None
    assert layout.events.is_file()
    assert layout.active.is_dir()


def test_the_repositorys_own_files_do_not_hide_the_project(tmp_path):
    write(tmp_path, ".autonomous/communications/events.yaml")
    write(tmp_path, "5-project-memory/_template/tasks/active/T/task.md")
    project = modern(tmp_path / PROJECT)
    assert find_layout(tmp_path).project == project
    assert find_layout(tmp_path / "5-project-memory").project == project


def test_the_folder_that_holds_the_files_wins(tmp_path):
    (tmp_path / ".autonomous/agents/communications").mkdir(parents=True)
    write(tmp_path, ".autonomous/communications/queue.yaml")
    assert find_layout(tmp_path).communications == tmp_path / ".autonomous/communications"


def test_ldjson_is_read_only_where_there_is_no_yaml_or_it_is_named(tmp_path):
    lines = write(tmp_path, ".autonomous/communications/events.ldjson")
    assert find_layout(tmp_path).events == lines
    text = write(tmp_path, ".autonomous/communications/events.yaml")
    assert find_layout(tmp_path).events == text
    assert find_layout(tmp_path, "events.ldjson").events == lines
    assert find_layout(tmp_path, ".autonomous/communications/events.ldjson").events == lines
    assert find_layout(tmp_path, "missing.yaml").events == tmp_path / "missing.yaml"


def test_an_empty_folder_is_a_workspace_without_anything(tmp_path):
    layout = find_layout(tmp_path)
    assert (layout.name, layout.tasks, layout.features, layout.events) == ("modern", (), None, None)


def test_a_workspace_that_is_not_there_is_a_named_error(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (tmp_path / "missing", write(tmp_path, "file"), loop):
        with pytest.raises(WorkspaceMissingError):
            find_layout(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_a_named_error(tmp_path):
    tmp_path.chmod(0)
    try:
        with pytest.raises(WorkspaceMissingError):
            find_layout(tmp_path)
    finally:
        tmp_path.chmod(0o700)
