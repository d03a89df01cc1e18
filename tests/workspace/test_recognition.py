from ralf_hub.workspace.following import BATCH_RECORDS
from tests.workspace.helpers import Memory, write


def event(number, task="TASK-1"):
    return f"- timestamp: '2026-02-01T12:00:{number % 60:02}Z'\n  type: started\n  task_id: {task}\n  run: {number}\n"


def memory(tmp_path):
    return Memory(write(tmp_path, "events.yaml"), tmp_path)


def append(path, text):
    with path.open("a") as stream:
        stream.write(text)


def test_what_is_appended_is_new_once(tmp_path):
    m = memory(tmp_path)
    assert m.look() == []
    append(m.path, event(1) + event(2))
    assert len(m.look()) == 2
    assert m.look() == []
    append(m.path, "\n" + event(3))
    assert [r.data["run"] for r in m.look()] == [3]
    assert m.state.generation < 4


def test_an_append_reads_only_the_end(tmp_path):
    m = memory(tmp_path)
    m.path.write_text("".join(event(n) for n in range(5000)))
    m.look()
    generation, place = m.state.generation, m.state.place
    append(m.path, event(5000))
    m.look(thorough=False)
    assert m.state.generation == generation
    assert m.state.place.line == place.line + 4


def test_exact_duplicates_count_as_often_as_they_stand(tmp_path):
    m = memory(tmp_path)
    append(m.path, event(1) * 3)
    assert len(m.look()) == 3
    append(m.path, event(1))
    assert len(m.look()) == 1
    m.path.write_text(event(1) * 2)
    assert m.look() == []
    append(m.path, event(1) * 3)
    assert len(m.look()) == 1


def test_truncated_and_restored_records_are_not_new(tmp_path):
    m = memory(tmp_path)
    whole = "".join(event(n) for n in range(10))
    m.path.write_text(whole)
    m.look()
    m.path.write_text(event(0))
    assert m.look() == []
    append(m.path, event(99))
    assert len(m.look()) == 1
    m.path.write_text(whole)
    assert m.look() == []


def test_a_record_that_grows_at_the_end_is_counted_as_what_it_became(tmp_path):
    m = memory(tmp_path)
    append(m.path, event(1) + "- timestamp: '2026-02-01T12:00:02Z'\n  type: started\n")
    assert [r.data.get("run") for r in m.look(settled=False)] == [1]
    append(m.path, "  task_id: TASK-1\n  run: 2\n")
    assert m.look(settled=False) == []
    assert [r.data.get("run") for r in m.look()] == [2]
    assert m.look() == []


def test_a_torn_end_that_was_taken_is_uncounted_when_it_grows(tmp_path):
    m = memory(tmp_path)
    torn = "- timestamp: '2026-02-01T12:00:02Z'\n  type: started\n"
    append(m.path, event(1) + torn)
    assert len(m.look()) == 2
    append(m.path, "  run: 2\n")
    assert [r.data for r in m.look()] == [{"run": 2}]
    append(m.path, torn)
    assert m.look() == []
    append(m.path, torn)
    assert len(m.look()) == 1


def test_an_unsettled_end_stays_counted_when_it_was(tmp_path):
    m = memory(tmp_path)
    append(m.path, event(1) + event(2))
    m.look()
    m.path.touch()
    assert m.look(settled=False) == []
    assert m.look() == []
    append(m.path, event(3))
    assert m.look(settled=False) == []
    assert len(m.look()) == 1


def test_a_kill_between_batches_loses_and_doubles_nothing(tmp_path):
    m = memory(tmp_path)
    m.path.write_text("".join(event(n) for n in range(9000)) + event(1) * 2)
    for _ in range(9002 // BATCH_RECORDS + 2):
        m.look(batches_max=1)
    assert len(m.delivered) == 9002
    assert set(m.counts().values()) == {1, 3}
    m.path.write_text("events:\n" + m.path.read_text().replace("'", '"'))
    for _ in range(9002 // BATCH_RECORDS + 2):
        m.look(batches_max=1)
    assert len(m.delivered) == 9002


def test_an_edit_in_the_middle_that_keeps_the_length_is_found_by_a_thorough_look(tmp_path):
    m = memory(tmp_path)
    text = "".join(event(n) for n in range(20_000))
    m.path.write_text(text)
    m.look()
    with m.path.open("r+") as stream:
        stream.write(text.replace("run: 7777\n", "run: 7x77\n"))
    append(m.path, event(20_001))
    assert len(m.look(thorough=False)) == 1
    assert [r.data["run"] for r in m.look()] == ["7x77"]


def test_a_file_replaced_by_another_is_read_anew(tmp_path):
    m = memory(tmp_path)
    m.path.write_text("".join(event(n) for n in range(100)))
    m.look()
    other = write(tmp_path, "other", "".join(event(n) for n in range(50, 150)))
    other.replace(m.path)
    assert sorted(r.data["run"] for r in m.look(thorough=False)) == list(range(100, 150))
