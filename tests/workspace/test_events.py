import json
import tracemalloc

import pytest
import yaml

from ralf_hub.workspace.chunks import SIMPLE, START, Scanner
from ralf_hub.workspace.events import Reading, iter_events
from ralf_hub.workspace.meaning import Meaning
from ralf_hub.workspace.records import Limits
from tests.workspace.helpers import read

ONE = "- timestamp: '2026-02-01T12:00:00Z'\n  type: started\n  task_id: TASK-1\n  agent: executor\n"
TWO = "- timestamp: '2026-02-01T12:05:00Z'\n  type: completed\n  task_id: TASK-1\n  result: success\n"


def lines_of(problems):
    return [problem.line for problem in problems]


@pytest.mark.parametrize(
    "text",
    [
        ONE + TWO,
        "events:\n" + ONE + TWO,
        "events:\n" + "".join(f"  {line}\n" for line in (ONE + TWO).splitlines()),
        "events:\n" + ONE + TWO + "metadata:\n  last_updated: x\n  total: 2\n",
        "events:\n" + ONE + TWO + "version: 1\n",
        "version: 1\nevents:\n" + ONE + TWO,
        "event_types:\n- started\n- completed\nevents:\n" + ONE + TWO + "swarm_events: []\n",
        "event_types:\n  - type: started\n    timestamp_field: timestamp\nevents:\n" + ONE + TWO,
        "events:\n" + ONE + "metadata:\n  total: 1\n" + TWO,
        "events:\n" + ONE + "metadata:\n  total: 1\n\n" + TWO + "metadata:\n  total: 2\n",
        "# a comment\n---\n" + ONE + "---\n" + TWO,
        "\ufeff" + ONE + "\n\n# note\n" + TWO + "...\n",
        (ONE + TWO).replace("\n", "\r\n"),
        json.dumps({"events": yaml.safe_load(ONE + TWO)}),
        json.dumps(yaml.safe_load(ONE + TWO), indent=2),
        "events: " + json.dumps(yaml.safe_load(ONE + TWO)) + "\nmetadata: {}\n",
        "".join(f"- {json.dumps(item)}\n" for item in yaml.safe_load(ONE + TWO)),
        (ONE + TWO).replace("- timestamp", "-\n  timestamp"),
        ONE.rstrip("\n") + "\n" + TWO.rstrip("\n"),
    ],
)
def test_every_shape_gives_the_same_two_events(text):
    records, problems = read(text)
    assert [(r.type, r.task_id, r.occurred_at) for r in records] == [
        ("task_started", "TASK-1", "2026-02-01T12:00:00.000Z"),
        ("task_completed", "TASK-1", "2026-02-01T12:05:00.000Z"),
    ]
    assert [r.fingerprint for r in records] == [r.fingerprint for r in read(ONE + TWO)[0]]
    assert problems == []


def test_lines_are_those_of_the_file():
    records, _ = read("events:\n\n# note\n" + ONE + TWO + "metadata:\n  a: 1\n" + ONE)
    assert [record.line for record in records] == [4, 8, 14]


def test_an_empty_file_and_an_empty_list_have_no_events():
    for text in ("", "\n", "events:\n", "events: []\n", "[]\n", "{}\n", "--- \n"):
        assert read(text)[0] == []


def test_an_unquoted_colon_costs_nothing_and_is_reported():
    broken = TWO + "  impact: Done. Components: WebSocket server, and 50% more # not a comment? it is\n"
    records, problems = read(ONE + broken + ONE)
    assert len(records) == 3
    assert records[1].data["impact"].startswith("Done. Components: WebSocket server")
    assert records[1].data["result"] == "success"
    assert lines_of(problems) == [9]


def test_unescaped_quotes_cost_nothing_and_are_reported():
    records, problems = read(ONE + TWO + '  note: "test with "quotes" and $variables"\n' + ONE)
    assert records[1].data["note"] == 'test with "quotes" and $variables'
    assert (len(records), lines_of(problems)) == (3, [9])


def test_a_repaired_record_keeps_its_fingerprint():
    broken = read(TWO + "  impact: Done. Components: server\n")[0][0]
    repaired = read(TWO + "  impact: 'Done. Components: server'\n")[0][0]
    assert broken.fingerprint == repaired.fingerprint


def test_raw_lines_inside_a_quoted_text_stay_in_their_record():
    text = '  note: "first line\n- a list item\nkey: value\n\n# heading\nlast line"\n  source: hook\n'
    records, _ = read(ONE + text + TWO)
    assert [r.type for r in records] == ["task_started", "task_completed"]
    assert records[0].data["source"] == "hook"
    assert "a list item" in records[0].data["note"]


def test_a_quote_never_closed_ends_at_the_next_record():
    records, problems = read(ONE + '  note: "never closed\n  source: "hook"\n' + TWO)
    assert [r.type for r in records] == ["task_started", "task_completed"]
    assert records[0].data["source"] == "hook"
    assert lines_of(problems) == [5]


def test_marks_of_a_merge_conflict_are_left_out_of_the_records():
    records, problems = read(f"<<<<<<< HEAD\n{ONE}=======\n{TWO}>>>>>>> other\n")
    assert [r.fingerprint for r in records] == [r.fingerprint for r in read(ONE + TWO)[0]]
    assert lines_of(problems) == [1, 6, 11]


def test_rows_of_a_template_are_problems_not_events():
    text = "- event_type: {EVENT}\n  timestamp: {TIMESTAMP}\n- timestamp: '{TIMESTAMP}'\n  type: started\n"
    records, problems = read(text + ONE)
    assert len(records) == 1
    assert [(p.line, p.message) for p in problems] == [
        (1, "a row of a template; left out"),
        (3, "a row of a template; left out"),
    ]


def test_what_is_no_record_is_reported_with_its_line():
    records, problems = read(ONE + "- just text\n- 12\n- {a: 1}\n- [1, 2]\n" + TWO)
    assert len(records) == 2
    assert lines_of(problems) == [5, 6, 7, 8]


def test_a_garbage_task_id_is_kept_in_the_data_only():
    records, _ = read("- timestamp: '2026-02-03T23:16:31+07:00'\n  task_id: 'task_id:'\n  type: started\n")
    assert (records[0].task_id, records[0].data) == (None, {"task_id": "task_id:"})
    records, _ = read("- timestamp: 2026-02-03\n  task_id: ../../etc/passwd\n  type: started\n")
    assert records[0].task_id is None


def test_bytes_that_are_not_utf8_cost_only_themselves():
    records, problems = read(ONE.encode() + b"  note: caf\xe9 \xff\n" + TWO.encode())
    assert len(records) == 2
    assert records[0].data["note"] == "caf\ufffd \ufffd"
    assert lines_of(problems) == [5]


def test_nul_bytes_of_a_crash_cost_only_themselves():
    records, problems = read(ONE.encode() + b"\x00" * 5000 + b"\n" + TWO.encode())
    assert [r.type for r in records] == ["task_started", "task_completed"]
    assert problems


def test_aliases_tags_and_deep_nesting_harm_nobody():
    bomb = "- timestamp: '2026-02-01T12:00:00Z'\n  type: started\n  a: &a [x, x]\n  b: [*a, *a]\n"
    tagged = (
        "- timestamp: '2026-02-01T12:00:01Z'\n  type: started\n  a: !!python/object/apply:os.system [ls]\n"
    )
    deep = "- timestamp: '2026-02-01T12:00:02Z'\n  type: started\n  a: " + "[" * 5000 + "]" * 5000 + "\n"
    records, problems = read(bomb + tagged + deep + ONE)
    assert len(records) == 4
    assert lines_of(problems)[0] == 4
    json.dumps([dict(record.data) for record in records])


def test_odd_values_become_json():
    text = (
        "- timestamp: 2026-02-01T12:00:00Z\n  type: started\n  big: 123456789012345678901234567890\n  nan: .nan\n"
        "  day: 2026-02-01\n  when: 2026-02-01T19:00:00+07:00\n  bin: !!binary aGk=\n  set: !!set {b, a}\n  1: one\n"
        '  bad: "\\ud800"\n  none: ~\n'
    )
    data = read(text)[0][0].data
    assert data == {
        "big": "123456789012345678901234567890", "nan": "nan", "day": "2026-02-01", "when": "2026-02-01T12:00:00Z",
        "bin": "aGk=", "set": ["a", "b"], "1": "one", "bad": "\\ud800", "none": None,
    }  # fmt: skip


def test_a_record_longer_than_the_limit_is_refused_by_name_and_the_rest_read():
    limits = Limits(record_bytes_max=1000)
    for long in ("  note: " + "x" * 5000 + "\n", "  - x\n" * 1000, "  note: '" + "x\n" * 3000 + "'\n"):
        records, problems = read(ONE + TWO + long + ONE, limits=limits)
        assert len(records) == 2
        assert "record_bytes_max" in problems[0].message
        assert problems[0].line == 5


def test_a_list_on_one_long_line_is_read_if_it_is_json():
    items = [{"timestamp": "2026-02-01", "type": "started", "run": number} for number in range(40_000)]
    records, problems = read(json.dumps(items))
    assert ([record.data["run"] for record in records], problems) == (list(range(40_000)), [])
    records, problems = read(json.dumps(items)[:-9])
    assert (records, len(problems)) == ([], 1)
    assert "longer than" in problems[0].message


def test_a_list_longer_than_its_limit_is_refused_by_name():
    text = json.dumps([{"timestamp": "2026-02-01", "type": "started"}] * 500)
    records, problems = read(text + "\n" + ONE, limits=Limits(record_bytes_max=1000))
    assert [record.task_id for record in records] == ["TASK-1"]
    assert "record_bytes_max" in problems[0].message


def test_a_record_without_a_final_newline_says_so():
    assert [r.complete for r in read(ONE + TWO)[0]] == [True, True]
    assert [r.complete for r in read((ONE + TWO).rstrip("\n"))[0]] == [True, False]


def test_a_record_appended_with_other_indentation_is_found():
    indented = "".join(f"  {line}\n" for line in ONE.splitlines())
    assert len(read("events:\n" + indented + TWO)[0]) == 2
    assert len(read(TWO + indented)[0]) == 2
    assert len(read("events:\n" + indented + "metadata:\n  total: 1\n" + indented)[0]) == 2


def test_lists_inside_other_sections_are_not_events():
    nested = "metadata:\n  history:\n  - timestamp: '2026-02-01T12:00:00Z'\n    type: started\n"
    assert len(read("events:\n" + ONE + nested)[0]) == 1
    assert len(read("event_types:\n- type: started\n  about: x\n- type: completed\nevents:\n" + ONE)[0]) == 1


def test_prompts_lose_their_text_unless_settings_keep_them():
    text = (
        "- timestamp: '2026-02-01T12:00:00Z'\n  type: user_prompt\n  task: TASK-7\n  run: run-1\n"
        '  preview: "my password is hunter2"\n  data:\n    text: hunter2\n'
    )
    record = read(text)[0][0]
    assert (record.type, record.task_id, dict(record.data)) == ("user_prompt", "TASK-7", {"run": "run-1"})
    kept = read(text, meaning=Meaning(keep_prompts=True))[0][0]
    assert kept.data["preview"] == "my password is hunter2"
    assert kept.fingerprint == record.fingerprint


def test_a_damaged_prompt_leaks_nothing_that_looks_like_a_field():
    text = (
        "- timestamp: '2026-02-01T12:00:00Z'\n  type: user_prompt\n  run: run-1\n"
        '  preview: "say "hello"\nagent: hunter2\n  source: hunter2\n- agent: hunter2\n'
    )
    records, problems = read(text + ONE)
    assert "hunter2" not in repr(records)
    assert "hunter2" not in repr(problems)
    assert records[0].data == {"run": "run-1"}
    assert records[-1].task_id == "TASK-1"


PROMPT = """- timestamp: "2026-02-10T00:14:54+07:00"
  type: user_prompt
  task: ""
  run: "current"
  preview: "<note>
<id>hunter2</id>
<summary>Command \\\\"Watch hunter2\\\\" done (exit code 0)</summary>
# Steps of hunter2

Options:
--json FILE    use hunter2
- a bullet about hunter2: with a colon
- "hunter2"
name: "hunter2"
---
  type: completed
  task_id: TASK-HUNTER2
  - type: completed
- type: deploy
  password: hunter2
    indented hunter2
Read the file \\\\"hunter2\\\\"
 - https://example.org/hunter2 - "
"""


@pytest.mark.parametrize(
    "after", ["", ONE, "metadata:\n  total: 1\n", "  source: hook\n" + ONE, "\n\n" + PROMPT + ONE]
)
def test_a_long_prompt_pasted_between_quotes_stays_one_record(after):
    records, problems = read(ONE + PROMPT + after)
    assert [r.type for r in records] == ["task_started"] + ["user_prompt"] * (
        1 + after.count("user_prompt")
    ) + [
        "task_started",
    ] * after.count("started")
    prompt = records[1]
    assert (prompt.task_id, prompt.occurred_at) == (None, "2026-02-09T17:14:54.000Z")
    assert prompt.data == {"run": "current"}
    assert "hunter2" not in repr((records, problems)).lower()
    assert len(problems) <= 3 * (1 + after.count("user_prompt"))


def test_the_text_of_a_prompt_can_be_kept():
    text = read(ONE + PROMPT + ONE, meaning=Meaning(keep_prompts=True))[0][1].data["preview"]
    assert text.startswith("<note>")
    assert "password: hunter2" in text


def test_text_after_a_broken_prompt_makes_no_events():
    broken = PROMPT.split("preview", maxsplit=1)[0] + 'preview: "say "hunter2"\n'
    records, problems = read(broken + "- type: deploy\n  password: hunter2\n" + ONE + "- type: later\n")
    assert [r.type for r in records] == ["user_prompt", "task_started", "later"]
    assert "hunter2" not in repr((records, problems))


class Long:
    """A file of *size* bytes that is nowhere as a whole."""

    block = (ONE.replace("TASK-1", "TASK-2") + TWO).encode() * 2000

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, _size: int, /) -> bytes:
        self.left -= len(self.block)
        return self.block if self.left > -len(self.block) else b""


def test_a_larger_file_takes_no_more_memory():
    peaks = []
    for size in (2 * 1024 * 1024, 4 * 1024 * 1024):
        tracemalloc.start()
        count = sum(len(part.records) for part in iter_events(Long(size), Reading("events.yaml")))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count > size // 100
    assert peaks[1] < 1.1 * peaks[0]


def test_ordinary_records_take_the_fast_way():
    class Once:
        data = (ONE + TWO).encode() * 10

        def read(self, _size, /):
            data, self.data = self.data, b""
            return data

    kinds = [chunk.kind for chunk in Scanner(Once(), START, 1000)]
    assert kinds.count(SIMPLE) == 18
