import json

import pytest

from tests.workspace.helpers import Memory, read, write

ONE = {"timestamp": "2026-02-01T12:00:00Z", "type": "started", "task_id": "TASK-1"}
OTHER = {"timestamp": "2026-02-01T12:00:01Z", "event": "checkpoint", "session": "s"}
FILE = "events.ldjson"


def types(text):
    records, problems = read(text, FILE)
    return [record.raw_type for record in records], [problem.line for problem in problems]


def pretty(item):
    return json.dumps(item, indent=2)


@pytest.mark.parametrize(
    ("text", "expected", "lines"),
    [
        (f"{json.dumps(ONE)}\n{json.dumps(OTHER)}\n", ["started", "checkpoint"], []),
        (f"{pretty(ONE)}\n{json.dumps(OTHER)}\n{pretty(OTHER)}", ["started", "checkpoint", "checkpoint"], []),
        (f"{json.dumps(ONE)}{json.dumps(OTHER)}\n", ["started", "checkpoint"], []),
        (f"{pretty(ONE)}{pretty(OTHER)}\n", ["started", "checkpoint"], []),
        (json.dumps([ONE, OTHER]), ["started", "checkpoint"], []),
        (json.dumps([ONE, OTHER], indent=2), ["started", "checkpoint"], []),
        (f"\n\n{json.dumps(ONE)}\n\n", ["started"], []),
        ('{"type": "started",\n' + json.dumps(OTHER) + "\n", ["checkpoint"], [1]),
        (f'{json.dumps(ONE)}\n{{"type": "torn", "a\n', ["started"], [2]),
        (f"not json\n{json.dumps(ONE)}\n12\n", ["started"], [1, 3]),
        ('{"type": {"a": 1}}\n' + json.dumps(ONE), ["started"], [1]),
    ],
)
def test_objects_are_found_however_they_stand(text, expected, lines):
    assert types(text) == (expected, lines)


def test_an_object_between_the_lines_of_another_costs_neither():
    first = pretty(ONE).split("\n")
    text = "\n".join([*first[:2], json.dumps(OTHER), *first[2:]]) + "\n"
    assert types(text) == (["checkpoint", "started"], [])


def test_an_object_never_finished_ends_at_the_next():
    broken = "\n".join(pretty(ONE).split("\n")[:-2])
    assert types(f"{broken}\n{pretty(OTHER)}\n") == (["checkpoint"], [1])


def test_deep_nesting_and_odd_numbers_harm_nobody():
    deep = '{"type": "x", "a": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
    odd = '{"type": "x", "timestamp": "2026-02-01", "n": NaN, "i": 123456789012345678901234567890, "s": "\\ud800"}\n'
    records, problems = read(deep + odd + json.dumps(ONE), FILE)
    assert [record.raw_type for record in records] == ["x", "started"]
    assert records[0].data == {"n": "nan", "i": "123456789012345678901234567890", "s": "?"}
    assert [problem.line for problem in problems] == [1]


def test_a_line_longer_than_the_limit_is_refused_by_name():
    text = json.dumps(ONE | {"note": "x" * 2_000_000}) + "\n" + json.dumps(OTHER)
    records, problems = read(text, FILE)
    assert [record.raw_type for record in records] == ["checkpoint"]
    assert "record_bytes_max" in problems[0].message


def test_reading_goes_on_inside_an_object_that_is_still_open(tmp_path):
    memory = Memory(write(tmp_path, FILE), tmp_path)
    first = pretty(ONE).split("\n")
    memory.path.write_text("\n".join([json.dumps(OTHER | {"n": 1}), *first[:2], json.dumps(OTHER)]) + "\n")
    assert [r.raw_type for r in memory.look()] == ["checkpoint", "checkpoint"]
    with memory.path.open("a") as stream:
        stream.write("\n".join(first[2:]) + "\n" + json.dumps(OTHER) + "\n")
    assert [r.raw_type for r in memory.look()] == ["started", "checkpoint"]
    assert memory.look() == []
