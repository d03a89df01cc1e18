"""Writing into a workspace: the whole file or nothing, twice is once, and never outside of it."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ralf_hub.model import CANCELLED, COMPLETED, FAILED, IN_PROGRESS
from ralf_hub.workspace import writer_files as io
from ralf_hub.workspace.events import Reading, events_in
from ralf_hub.workspace.layout import find_layout
from ralf_hub.workspace.locks import QUEUE_LOCK, ScriptLock
from ralf_hub.workspace.scan import scan
from ralf_hub.workspace.surgery_events import record
from ralf_hub.workspace.wishes import BusyError, Done, ForbiddenError, Wish
from ralf_hub.workspace.writer import Writer

TALK = Path(".autonomous", "agents", "communications")
NEW = Wish(
    id="TASK-NEW-1",
    title="Made in the hub",
    status="pending",
    priority="high",
    description="Do it.",
    created_at="2026-02-05T01:57:10.123Z",
    updated_at="2026-02-06T01:57:10.123Z",
    creates=True,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "ws"
    (root / "tasks" / "active").mkdir(parents=True)
    (root / TALK).mkdir(parents=True)
    (root / TALK / "queue.yaml").write_text("# the queue\ntasks:\n")
    return root


@contextmanager
def writing(root: Path) -> Iterator[Writer]:
    with Writer(find_layout(root)) as writer:
        yield writer


def carry(root: Path, *wishes: Wish) -> list[Done | Exception]:
    with writing(root) as writer:
        return writer.carry_out(wishes)


def done(root: Path, *wishes: Wish) -> list[Done]:
    results = carry(root, *wishes)
    assert all(isinstance(result, Done) for result in results), results
    return results  # type: ignore[return-value]


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def changed(wish: Wish, *files: str, **fields: object) -> Wish:
    return replace(wish, creates=False, files=files, changed=frozenset(fields), **fields)  # type: ignore[arg-type]


# --- what is written ------------------------------------------------------------------------------


def test_a_new_task_gets_a_file_and_an_entry_and_nothing_else_is_left_behind(root: Path) -> None:
    (first,) = done(root, NEW)
    assert first.touched == ["tasks/active/TASK-NEW-1/task.md", f"{TALK.as_posix()}/queue.yaml"]
    assert first.notes == []
    found = scan(root)
    assert [(task.id, task.status, task.priority) for task in found.tasks] == [
        ("TASK-NEW-1", "pending", "high")
    ]
    assert [item.id for item in found.queue.items] == ["TASK-NEW-1"]
    assert found.problems == ()
    assert set(tree(root)) == set(first.touched)


def test_the_same_again_changes_nothing(root: Path) -> None:
    done(root, NEW)
    before = tree(root)
    (again,) = done(root, replace(NEW, files=("tasks/active/TASK-NEW-1/task.md",)))
    assert again.touched == []
    (unknowing,) = done(root, NEW)
    assert unknowing.notes == ["tasks/active/TASK-NEW-1/task.md was there already and stays as it is"]
    assert tree(root) == before


def test_what_a_killed_try_left_is_put_away(root: Path) -> None:
    left = root / "tasks" / "active" / f".TASK-NEW-1{io.TEMPORARY}"
    left.mkdir()
    (left / "task.md").write_text("half a fi")
    (root / TALK / f".queue.yaml{io.TEMPORARY}").write_text("half")
    (only,) = done(root, NEW)
    assert set(tree(root)) == set(only.touched)


def test_the_flat_form(tmp_path: Path) -> None:
    root = tmp_path / "flat"
    (root / ".autonomous" / "tasks" / "active").mkdir(parents=True)
    (root / ".autonomous" / "communications").mkdir()
    (root / ".autonomous" / "communications" / "queue.yaml").write_text("queue:\n")
    unix = replace(NEW, id="TASK-1770000000", title="Two words")
    first, second = done(root, NEW, unix)
    assert first.touched[0] == ".autonomous/tasks/active/TASK-NEW-1.md"
    assert second.touched[0] == ".autonomous/tasks/active/TASK-1770000000-two-words.md"
    assert [task.id for task in scan(root).tasks] == ["TASK-1770000000", "TASK-NEW-1"]
    (moved,) = done(root, changed(unix, second.touched[0], status=COMPLETED))
    assert moved.touched[-1] == ".autonomous/tasks/completed/TASK-1770000000-two-words.md"


@pytest.mark.parametrize(
    "task_id",
    [
        "TASK-1769957362-with-words",
        "REST-1",
        "a.b_c-d",
        "1",
        "0012",
        "x" * 128,
        "X" * 128,
        "TASK-1770000000-ab12",
    ],
)
@pytest.mark.parametrize("form", ["modern", "flat"])
def test_every_id_is_found_again_under_itself(tmp_path: Path, task_id: str, form: str) -> None:
    base = tmp_path / ("tasks" if form == "modern" else ".autonomous/tasks")
    (base / "active").mkdir(parents=True)
    done(tmp_path, replace(NEW, id=task_id))
    found = scan(tmp_path)
    assert [(task.id, task.title) for task in found.tasks] == [(task_id, NEW.title)]
    assert [item.id for item in found.queue.items] == [task_id]


def test_a_missing_queue_is_made_in_the_trees_schema(root: Path) -> None:
    (root / TALK / "queue.yaml").unlink()
    done(root, NEW)
    assert (root / TALK / "queue.yaml").read_text().startswith("tasks:\n- id: TASK-NEW-1\n")


def test_everything_missing_is_made(tmp_path: Path) -> None:
    done(tmp_path, NEW)
    assert set(tree(tmp_path)) == {"tasks/active/TASK-NEW-1/task.md", f"{TALK.as_posix()}/queue.yaml"}


@pytest.mark.parametrize(
    ("status", "folder"),
    [(COMPLETED, "completed"), (CANCELLED, "cancelled"), (FAILED, "active"), (IN_PROGRESS, "active")],
)
def test_folders_move_as_the_stop_hook_moves_them(root: Path, status: str, folder: str) -> None:
    done(root, NEW)
    (root / "tasks/active/TASK-NEW-1/PLAN.md").write_text("a plan")
    text = (root / "tasks/active/TASK-NEW-1/task.md").read_text()
    done(root, changed(NEW, "tasks/active/TASK-NEW-1/task.md", status=status))
    assert (root / "tasks" / folder / "TASK-NEW-1" / "task.md").read_text() == text
    assert (root / "tasks" / folder / "TASK-NEW-1" / "PLAN.md").read_text() == "a plan"
    assert scan(root).queue.items[0].status == status


def test_a_task_that_stands_where_it_goes_already_is_not_written_over(root: Path) -> None:
    done(root, NEW)
    there = root / "tasks/completed/TASK-NEW-1/task.md"
    there.parent.mkdir(parents=True)
    there.write_text("an older one")
    (only,) = done(root, changed(NEW, "tasks/active/TASK-NEW-1/task.md", status=COMPLETED))
    assert there.read_text() == "an older one"
    assert (root / "tasks/active/TASK-NEW-1/task.md").exists()
    assert only.notes == ["TASK-NEW-1 stands in completed/ already; the one in active/ stays"]


def test_subtasks_and_archives_stay_where_they_are(root: Path) -> None:
    inner = "tasks/active/TASK-1/subtasks/SUBTASK-1/task.md"
    archived = "tasks/completed/2026-02/TASK-2/task.md"
    for file in (inner, archived):
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text("# X\n")
    before = tree(root)
    done(
        root,
        changed(NEW, inner, id="SUBTASK-1", status=COMPLETED),
        changed(NEW, archived, id="TASK-2", status=CANCELLED),
    )
    assert tree(root) == before


@pytest.mark.parametrize("fields", [{"title"}, {"status"}, {"title", "status"}])
def test_what_vanished_is_to_be_looked_for_again(root: Path, fields: set[str]) -> None:
    gone = "tasks/active/GONE/task.md"
    wish = replace(NEW, id="GONE", creates=False, files=(gone,), changed=frozenset(fields), status=COMPLETED)
    before = tree(root)
    (result,) = carry(root, wish)
    assert isinstance(result, BusyError)
    assert str(result) == f"{gone} was moved or deleted since it was read"
    assert tree(root) == before


def test_the_mode_of_a_file_stays(root: Path) -> None:
    (root / TALK / "queue.yaml").chmod(0o664)
    done(root, NEW)
    assert (root / TALK / "queue.yaml").stat().st_mode & 0o777 == 0o664


def test_one_bad_wish_keeps_nobody_else_from_being_written(root: Path) -> None:
    results = carry(root, replace(NEW, id="a..b"), NEW, replace(NEW, id="templates"))
    assert isinstance(results[0], ForbiddenError)
    assert isinstance(results[1], Done)
    assert isinstance(results[2], ForbiddenError)
    assert [item.id for item in scan(root).queue.items] == ["TASK-NEW-1"]


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task_id", ["..", "../x", "a/../../b", "a..b", "x/y", "templates", "runs", "node_modules"]
)
def test_ids_that_cannot_be_names_are_refused(root: Path, task_id: str) -> None:
    before = tree(root.parent)
    assert isinstance(carry(root, replace(NEW, id=task_id))[0], ForbiddenError)
    assert tree(root.parent) == before


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("./ab\0"), min_size=1, max_size=12))
def test_no_place_leads_out(place: str) -> None:
    try:
        parts = io.parts_of(place)
    except ForbiddenError:
        return
    assert ".." not in parts
    assert not any(part.startswith("/") for part in parts)


def _link(place: Path, target: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        for inner in sorted(place.rglob("*"), reverse=True):
            inner.rmdir() if inner.is_dir() else inner.unlink()
        place.rmdir()
    place.unlink(missing_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("place", ["tasks", "tasks/active", ".autonomous", TALK.as_posix()])
def test_a_folder_that_is_a_link_is_not_followed(root: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    layout = find_layout(root)
    (outside / "active").mkdir(parents=True)
    (outside / "agents" / "communications").mkdir(parents=True)
    _link(root / place, outside)
    before = tree(outside)
    with Writer(layout) as writer:
        (result,) = writer.carry_out([NEW])
    assert isinstance(result, ForbiddenError)
    assert "symbolic link" in str(result)
    assert tree(outside) == before


@pytest.mark.parametrize("name", ["queue.yaml", "events.yaml"])
def test_a_link_in_place_of_a_file_is_not_followed(root: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text("tasks:\n")
    _link(root / TALK / name, outside)
    if name == "queue.yaml":
        assert isinstance(carry(root, NEW)[0], ForbiddenError)
    else:
        with writing(root) as writer, pytest.raises(ForbiddenError, match="symbolic link"):
            writer.append({"timestamp": "2026-02-01T00:00:00Z", "type": "started", "run_id": "evt_1"})
    assert outside.read_text() == "tasks:\n"


def test_a_link_in_place_of_a_new_task_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "tasks/active/TASK-NEW-1").symlink_to(tmp_path)
    assert isinstance(carry(root, NEW)[0], ForbiddenError)
    (root / "tasks/active/TASK-NEW-1").unlink()
    (root / "tasks/active/TASK-NEW-1").symlink_to(tmp_path / "nowhere")
    assert isinstance(carry(root, NEW)[0], ForbiddenError)


def test_a_fifo_blocks_nobody(root: Path) -> None:
    (root / TALK / "queue.yaml").unlink()
    os.mkfifo(root / TALK / "queue.yaml")
    os.mkfifo(root / TALK / "events.yaml")
    assert isinstance(carry(root, NEW)[0], ForbiddenError)
    with writing(root) as writer, pytest.raises((ForbiddenError, OSError)):
        writer.append({"timestamp": "2026-02-01T00:00:00Z", "type": "started", "run_id": "evt_1"})


def test_a_lock_that_is_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    (root / TALK / QUEUE_LOCK).symlink_to(tmp_path / "elsewhere")
    with writing(root) as writer, writer.communications() as folder, pytest.raises(ForbiddenError):
        ScriptLock(folder, QUEUE_LOCK).try_acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_beyond_the_limit_is_left_alone(root: Path) -> None:
    with (root / TALK / "queue.yaml").open("ab") as stream:
        stream.truncate(1024 * 1024 * 1024)  # sparse: nothing of it is read
    result = carry(root, NEW)[0]
    assert isinstance(result, ForbiddenError)
    assert "larger than" in str(result)


@contextmanager
def file_size_limit(bytes_max: int) -> Iterator[None]:
    """Let no file grow beyond *bytes_max*: what a full disk does to a write, without filling one."""
    import signal  # noqa: PLC0415

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_leaves_every_file_as_it_was(root: Path) -> None:
    (root / TALK / "queue.yaml").write_text("tasks:\n" + "# filling\n" * 1000)
    (root / TALK / "events.yaml").write_text("- timestamp: '2026-02-01T00:00:00Z'\n  type: idle\n" * 200)
    before = tree(root)
    with file_size_limit(9_000), writing(root) as writer:
        results = writer.carry_out([NEW])
        with pytest.raises(OSError, match=r"File too large|No space") as full:
            writer.append({"timestamp": "2026-02-01T00:00:00Z", "type": "started", "run_id": "evt_1"})
    assert full.value.errno in {errno.EFBIG, errno.ENOSPC}
    assert isinstance(results[0], OSError)
    after = tree(root)
    made = after.pop("tasks/active/TASK-NEW-1/task.md")
    assert made.endswith(b"is met\n"), "the task itself is whole; its entry comes with the next try"
    assert after == before
    done(root, replace(NEW, files=("tasks/active/TASK-NEW-1/task.md",)))
    assert [item.id for item in scan(root).queue.items] == ["TASK-NEW-1"]


@pytest.mark.parametrize("form", ["modern", "flat"])
def test_a_task_that_does_not_fit_on_the_disk_leaves_nothing_behind(tmp_path: Path, form: str) -> None:
    place = "tasks/active" if form == "modern" else ".autonomous/tasks/active"
    (tmp_path / place).mkdir(parents=True)
    with file_size_limit(10):
        assert isinstance(carry(tmp_path, NEW)[0], OSError)
    assert list((tmp_path / place).iterdir()) == []


def test_half_a_record_is_taken_back(root: Path) -> None:
    events = root / TALK / "events.yaml"
    events.write_bytes(b"- type: idle\n" * 100)
    before = events.read_bytes()
    with file_size_limit(len(before) + 10), writing(root) as writer, pytest.raises(OSError, match="No space"):
        writer.append({"timestamp": "2026-02-01T00:00:00Z", "type": "started", "run_id": "evt_1"})
    assert events.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permission_denied_is_an_error_that_may_pass(root: Path) -> None:
    (root / "tasks/active").chmod(0o555)
    assert isinstance(carry(root, NEW)[0], PermissionError)


def test_a_queue_changed_by_somebody_without_the_lock_is_not_written_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and writing somebody edits the file: his edit stays, the write is tried again later."""
    queue = root / TALK / "queue.yaml"
    real = io.is_same

    def edited(*given: object) -> bool:
        queue.write_text("tasks:\n- id: HIS\n  status: pending\n")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(io, "is_same", edited)
    assert isinstance(carry(root, NEW)[0], BusyError)
    assert queue.read_text() == "tasks:\n- id: HIS\n  status: pending\n"


# --- events ---------------------------------------------------------------------------------------

FIELDS = {
    "timestamp": "2026-02-01T00:00:00Z",
    "task_id": "TASK-1",
    "type": "completed",
    "agent": "ralf-hub",
    "run_id": "evt_01",
}


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"events:\n- timestamp: '2026-01-01T00:00:00Z'\n  type: idle\n",
        b"events:\n  - timestamp: '2026-01-01T00:00:00Z'\n    type: idle\n",
        b"- timestamp: '2026-01-01T00:00:00Z'\n  type: idle",
        b"- timestamp: '2026-01-01T00:00:00Z'\r\n  type: idle\r\n",
        b"events:\n- timestamp: '2026-01-01T00:00:00Z'\n  type: idle\nmetadata:\n  total: 1\n",
    ],
)
def test_a_record_is_appended_in_the_files_own_style(root: Path, before: bytes) -> None:
    events = root / TALK / "events.yaml"
    events.write_bytes(before)
    with writing(root) as writer:
        line = writer.line(FIELDS)
        assert writer.append(FIELDS)
        after = events.read_bytes()
        assert after.startswith(before)
        assert not writer.append(FIELDS, look_for="evt_01"), "an earlier try wrote it"
        assert events.read_bytes() == after
    records, problems = events_in(after, Reading("events.yaml"))
    assert problems == []
    assert records[-1].fingerprint == line.fingerprint
    assert (records[-1].type, records[-1].task_id) == ("task_completed", "TASK-1")
    assert len(records) == (2 if before else 1)
    assert (b"\r\n" in after[len(before) :]) == (b"\r\n" in before)


def test_records_go_to_a_log_of_json_lines_where_that_is_the_file(root: Path) -> None:
    events = root / TALK / "events.ldjson"
    events.write_text('{"timestamp": "2026-01-01T00:00:00Z", "type": "idle"}\n')
    with writing(root) as writer:
        assert writer.events_file().endswith("events.ldjson")
        writer.append(FIELDS)
        records, _ = events_in(events.read_bytes(), Reading("events.ldjson"))
        assert records[-1].fingerprint == writer.line(FIELDS).fingerprint


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["task_id", "notes", "run_id"]), st.text(max_size=60), min_size=1))
def test_any_text_in_a_record_is_read_back(values: dict[str, str]) -> None:
    line = record({"timestamp": "2026-02-01T00:00:00Z", "type": "started", **values})
    records, problems = events_in(line.text.encode(), Reading("events.yaml"))
    assert problems == []
    assert [found.fingerprint for found in records] == [line.fingerprint]


# --- locks ----------------------------------------------------------------------------------------


def test_bash_and_the_hub_keep_each_other_out(root: Path) -> None:
    held = root / TALK / QUEUE_LOCK
    script = 'exec 200>"$1"; flock 200; echo held; read -r _'
    with writing(root) as writer, writer.communications() as folder:
        lock = ScriptLock(folder, QUEUE_LOCK)
        with subprocess.Popen(
            ["bash", "-c", script, "lock", str(held)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as bash:
            assert bash.stdout is not None
            assert bash.stdin is not None
            assert bash.stdout.readline() == "held\n"
            assert not lock.try_acquire()
            bash.stdin.write("\n")
            bash.stdin.flush()
            bash.wait(10)
        assert lock.try_acquire()
        asked = subprocess.run(
            ["bash", "-c", 'exec 200>"$1"; flock -n 200', "lock", str(held)], check=False, timeout=10
        )
        assert asked.returncode == 1
        lock.release()
        asked = subprocess.run(
            ["bash", "-c", 'exec 200>"$1"; flock -n 200', "lock", str(held)], check=False, timeout=10
        )
        assert asked.returncode == 0
