import json
import subprocess
from datetime import UTC, datetime

import pytest

from ralf_hub.workspace import chunks, following
from ralf_hub.workspace.events import Reading, as_json
from ralf_hub.workspace.files import RefusedError
from ralf_hub.workspace.following import FileState, follow, read_problem, unchanged
from tests.workspace.helpers import Memory, read, write
from tests.workspace.test_recognition import append, event, memory

WRITER = """
for n in $(seq 1 {count}); do
(
  flock -x 200
  cat >> "$1" << EOF

- timestamp: "$(date -Iseconds)"
  task_id: "TASK-$2"
  type: started
  agent: executor
  run_id: "$2-$n"
EOF
) 200>"$1.lock"
done
"""


def test_a_file_that_nobody_touched_is_not_even_opened(tmp_path):
    m = memory(tmp_path)
    append(m.path, event(1) + event(2))
    assert not unchanged(m.path, m.state)
    m.look()
    assert unchanged(m.path, m.state)
    append(m.path, event(3))
    assert not unchanged(m.path, m.state)
    m.look(settled=False)
    assert not unchanged(m.path, m.state)
    m.path.unlink()
    assert not unchanged(m.path, m.state)


def test_a_state_survives_storage(tmp_path):
    m = memory(tmp_path)
    append(m.path, "".join(event(n) for n in range(100)))
    m.look()
    stored = json.loads(json.dumps(m.state.as_json()))
    assert FileState.from_json(stored) == m.state


def test_a_file_that_is_gone_or_refused_is_put_in_words(tmp_path):
    with pytest.raises(FileNotFoundError) as gone:
        follow(tmp_path / "none", tmp_path, Reading("none"))
    assert read_problem("none", gone.value).message == "No such file or directory"
    with pytest.raises(RefusedError) as refused:
        follow(tmp_path, tmp_path, Reading("none"))
    assert read_problem("none", refused.value).message == "not a regular file; not opened"


def test_a_list_in_one_piece_is_followed_too(tmp_path):
    m = Memory(write(tmp_path, "events.yaml"), tmp_path)
    items = []
    for number in range(1200):
        items.append({"timestamp": f"2026-02-01T12:00:{number % 60:02}Z", "type": "started", "run": number})
        if number % 300 == 0 or number > 1190:
            m.path.write_text(json.dumps({"events": items}, indent=2 if number % 2 else None))
            m.look()
    assert len(m.delivered) == 1200
    assert set(m.counts().values()) == {1}


def test_a_crash_of_the_reading_leaves_the_file_closed_and_the_state_usable(tmp_path):
    m = memory(tmp_path)
    m.path.write_text("".join(event(n) for n in range(5000)))
    m.look(batches_max=1)
    assert m.state.place.offset > 0
    first = len(m.delivered)
    assert 0 < first < 5000
    assert len(m.look()) == 5000 - first


def test_the_check_of_the_ends_reads_little(tmp_path, monkeypatch):
    m = memory(tmp_path)
    m.path.write_text("".join(event(n) for n in range(40_000)))
    m.look()
    append(m.path, event(40_001))
    sizes = []
    digest = following._digest
    monkeypatch.setattr(following, "_digest", lambda data: sizes.append(len(data)) or digest(data))
    m.look(thorough=False)
    assert sum(sizes) <= 5 * following.BLOCK_BYTES
    sizes.clear()
    append(m.path, event(40_002))
    m.look(thorough=True)
    assert sum(sizes) >= m.path.stat().st_size


def test_a_gap_too_long_to_keep_is_read_again_not_guessed(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "KEPT_BYTES_MAX", 2 * following.BLOCK_BYTES)
    m = memory(tmp_path)
    m.path.write_text(event(1) + "  note: " + "x" * 8 * following.BLOCK_BYTES + "\n")
    assert m.look() == []
    append(m.path, event(2) + event(3))
    assert [r.data["run"] for r in m.look()] == [2, 3]
    assert m.look() == []


def test_the_same_record_in_every_style_is_delivered_once(tmp_path):
    m = memory(tmp_path)
    stamp = datetime(2026, 2, 1, 12, 44, 42, tzinfo=UTC)
    for text in (
        f"- timestamp: '{stamp:%Y-%m-%dT%H:%M:%SZ}'\n  type: started\n  n: 1\n",
        f"- timestamp: {stamp:%Y-%m-%dT%H:%M:%SZ}\n  type: 'started'\n  n: '1'\n",
        f'events:\n  - n: 1\n    type: "started"\n    timestamp: "{stamp:%Y-%m-%dT%H:%M:%S+00:00}"\n',
        f"events:\n- {{type: started, n: 1, timestamp: {stamp:%Y-%m-%d %H:%M:%S}}}\nmetadata: {{}}\n",
        f'[{{"timestamp": "{stamp:%Y-%m-%dT%H:%M:%S+0000}", "type": "started", "n": 1}}]',
    ):
        m.path.write_text(text)
        m.look()
    assert len(m.delivered) == 1


def test_ralfs_own_type_is_kept_beside_the_hubs():
    started, idle = read(
        "- timestamp: 2026-02-01\n  type: started\n  a: 1\n- timestamp: 2026-02-01\n  type: idle\n"
    )[0]
    assert as_json(started) == {"a": 1, "ralf_type": "started"}
    assert as_json(idle) == {}


def test_small_pieces_of_a_stream_change_nothing(monkeypatch):
    text = "events:\n" + "".join(event(n) for n in range(50)) + "metadata:\n  a: 1\n" + event(51)
    whole = read(text)
    for size in (1, 7, 64):
        monkeypatch.setattr(chunks, "READ_BYTES", size)
        assert read(text) == whole


@pytest.mark.journey
def test_nothing_is_lost_or_doubled_while_ralfs_scripts_append(tmp_path):
    m = memory(tmp_path)
    script = write(tmp_path, "writer.sh", WRITER.format(count=50))
    writers = [subprocess.Popen(["bash", str(script), str(m.path), str(n)]) for n in range(4)]
    try:
        while any(writer.poll() is None for writer in writers):
            m.look(settled=False, thorough=False)
    finally:
        for writer in writers:
            writer.wait(60)
    m.look()
    assert sorted(r.data["run_id"] for r in m.delivered) == sorted(
        f"{w}-{n}" for w in range(4) for n in range(1, 51)
    )
