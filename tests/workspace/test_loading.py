"""No YAML text may take the process with it, or keep it busy: what is nested too deep is refused and put in words."""

import subprocess
import sys
from pathlib import Path

import pytest

from ralf_hub.workspace.loading import NESTING_MAX, UnreadableError, load_yaml, syntax_errors

DEEP = {
    "lists": "'[' * n",
    "closed lists": "'[' * n + ']' * n",
    "mappings": "'{a: ' * n",
    "dashes": "'- ' * n",
    "complex keys": "'? ' * n",
    "both": "'- ? ' * n",
    "other line ends": "'\\u2028' + '- ' * n",
}
"""Texts that the C parser alone, or the builder behind it, does not survive; n is how deep they go."""

READ = """
from pathlib import Path
from ralf_hub.workspace.events import Reading, events_in
from ralf_hub.workspace.queue import read_queue
from ralf_hub.workspace.tasks import TaskSource, read_task

n = 200_000
text = {text}
record = "- timestamp: '2026-02-01T12:00:00Z'\\n  type: started\\n"
odd = "- timestamp: '2026-02-01T12:00:01Z'\\n  type: started\\n  a: " + text + "\\n"
records, _ = events_in((odd + record).encode(), Reading("events.yaml"))
assert len(records) == 2, records
assert events_in(("[" + text).encode(), Reading("events.yaml"))[1], "nothing but damage, and reported"
queue = read_queue("queue:\\n- id: A\\n  status: pending\\n- id: B\\n  a: " + text + "\\n", "q")
assert [item.id for item in queue.items] == ["A", "B"], queue
read_queue("a: " + text, "q")
task, _ = read_task("---\\ntitle: Deep\\na: " + text + "\\n---\\n\\n# x\\n", TaskSource("f", "active", "TASK-1"))
assert task.title == "x" or task.title == "Deep"
"""


@pytest.mark.parametrize("name", DEEP)
def test_every_reader_outlives_what_is_nested_too_deep(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ.replace("{text}", DEEP[name])],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["lists", "mappings", "dashes"])
def test_it_is_put_in_words_with_its_line(name: str) -> None:
    deep = {"lists": "[" * 1000, "mappings": "{a: " * 1000, "dashes": "- " * 1000}[name]
    with pytest.raises(UnreadableError, match=f"nested deeper than {NESTING_MAX} levels") as found:
        load_yaml(f"a: 1\nb:\n {deep}")
    assert found.value.line == 2
    assert [str(error) for error in syntax_errors(f"a: 1\nb:\n {deep}")] == [str(found.value)]


def test_what_only_looks_deep_is_read() -> None:
    wide = "[" + "[], " * 1000 + "]"
    assert load_yaml(wide) == [[]] * 1000
    assert load_yaml(f"a: {'x' * 300}\n# {'-' * 100}\nb: |\n  {'- ' * 500}\n") == {
        "a": "x" * 300,
        "b": "- " * 500 + "\n",
    }
    deep = "[" * (NESTING_MAX - 1) + "]" * (NESTING_MAX - 1)
    assert load_yaml(f"{{a: {deep}}}") != {}


def test_an_alias_is_refused_and_an_ampersand_is_not() -> None:
    with pytest.raises(UnreadableError, match="alias"):
        load_yaml("a: &x [1]\nb: *x\n")
    assert load_yaml("a: 'this & that'\nb: '*'\n") == {"a": "this & that", "b": "*"}
