"""What must hold for any file: how it was written must not matter, and nothing in it may raise."""

import contextlib
import json
from collections import Counter
from datetime import UTC, datetime

import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ralf_hub.workspace import chunks, values
from ralf_hub.workspace.scalars import fingerprint
from tests.workspace.helpers import Memory, read

TEXT = st.text(
    alphabet=st.sampled_from(list("ab cZ09:'\"#-\n\\{}[],&*!|>%@`?=.~/_é☃\t"))
    | st.characters(exclude_categories=["Cs"]),
    max_size=40,
).filter(lambda text: yaml.reader.Reader.NON_PRINTABLE.search(text) is None and "\ufeff" not in text)
TRICKY = st.sampled_from(
    ["", " ", "yes", "No", "null", "~", "12", "-9999999999", "007", "1_000", "12:30:45", "1e3", ".inf", "0x1F", "- a",
     "a: b", "key:", "# no", "2026-02-01", "2026-02-01T12:00:00Z", "2026-02-01 12:00:00", "'", '"', "''", "a # b",
     "line\n- timestamp: 2026-02-01\n  type: x", "x\n\n\ny", "end\n", "{EVENT}", "C:\\path\\n", "50%", "=", "<<", "é"],
)  # fmt: skip
SCALAR = (
    TEXT | TRICKY | st.integers(-(10**20), 10**20) | st.booleans() | st.none() | st.floats(allow_nan=False)
)
KEY = st.sampled_from(
    ["agent", "notes", "impact", "run_number", "yes", "null", "commit_hash", "files", "data", "a-b"]
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=6
)
TYPE = st.sampled_from(["started", "completed", "info", "agent_stop"])
STAMP = st.integers(1_577_836_800, 1_893_456_000).map(lambda s: datetime.fromtimestamp(s, UTC))


@st.composite
def records(draw):
    fields = {"timestamp": draw(STAMP), "type": draw(TYPE)}
    fields |= draw(st.dictionaries(KEY, VALUE, max_size=4))
    if draw(st.booleans()):
        fields["timestamp"] = fields["timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ")
    if draw(st.booleans()):
        fields = dict(reversed(fields.items()))
    return fields


def dump(items, draw_style, width, flow, *, sort, indented):
    class Dumper(yaml.SafeDumper):
        def increase_indent(self, *args, **kwargs):
            flow, indentless = (
                [*args, False, False][:2] if args else (kwargs.get("flow"), kwargs.get("indentless"))
            )
            return super().increase_indent(flow, indentless and not indented)

        def ignore_aliases(self, _data):
            return True

    return yaml.dump(
        items, Dumper=Dumper, default_style=draw_style, width=width, default_flow_style=flow, sort_keys=sort,
        allow_unicode=True,
    )  # fmt: skip


STYLE = st.tuples(
    st.sampled_from([None, "'", '"']), st.sampled_from([20, 80, 10_000]), st.sampled_from([None, False])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(records(), min_size=1, max_size=4), STYLE, st.booleans(), st.booleans(), st.booleans())
def test_no_way_of_writing_changes_what_is_read(items, style, sort, indented, wrapped):
    text = dump({"events": items} if wrapped else items, *style, sort=sort, indented=indented)
    loaded = yaml.safe_load(text)
    assume(
        loaded == ({"events": items} if wrapped else items)
    )  # PyYAML does not keep every control character
    found, problems = read(text)
    assert Counter(r.fingerprint for r in found) == Counter(fingerprint(item) for item in items)
    assert problems == []


@settings(max_examples=100, deadline=None)
@given(st.lists(records(), min_size=1, max_size=4))
def test_json_is_read_as_yaml_is(items):
    plain = yaml.safe_load(yaml.safe_dump(items))
    text = "\n".join(json.dumps(item, default=str) for item in plain)
    found, problems = read(text, "events.ldjson")
    assert Counter(r.fingerprint for r in found) == Counter(fingerprint(item) for item in items)
    assert problems == []


PLAIN = st.text(
    alphabet=st.sampled_from(list("abyYnoNefTtx0123456789 :#-_./+()%,'\"[]{}&*!?@`|>=~\\")), max_size=14
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.tuples(KEY, PLAIN | TRICKY), max_size=3))
@example([("run", "12:30:45")])
@example([("run", "a  ")])
def test_the_fast_way_reads_as_yaml_does(pairs):
    lines = "".join(f"  {key}: {value}\n" for key, value in pairs)
    record = f"- timestamp: 2026-02-01T12:00:00+07:00\n{lines}".encode()
    pattern = chunks.simple_record(0)
    found = pattern.match(record + b"- next: 1\n")
    if found is None or found.end() != len(record):
        return
    fast = values.SimpleReader().fields(record)
    if fast is not None:
        assert fast[0] == yaml.safe_load(record)[0]
        assert sorted(fast[1]) == sorted(values.pair(key, value) for key, value in fast[0].items())


BROKEN = st.lists(
    st.sampled_from(
        [b"- timestamp: '2026-02-01T12:00:00Z'\n", b"  type: started\n", b"- ", b"  ", b"\n", b"events:\n", b"metadata:\n",
         b'"', b"'", b": ", b"#", b"{", b"}", b"[", b"]", b"---\n", b"\xff", b"\x00", b"\r\n", b"\t", b"| \n", b"&a ", b"*a ",
         b"- timestamp: x\n", b"event_types:\n- a\n", b"\xef\xbb\xbf", b'{"type": "x"}\n', b"\\", b"  - nested\n", b"!!binary "],
    )
    | st.binary(max_size=6),
    max_size=30,
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(BROKEN, st.sampled_from(["events.yaml", "events.ldjson"]))
def test_nothing_in_a_file_raises_and_lines_are_in_the_file(parts, name):
    data = b"".join(parts)
    found, problems = read(data, name)
    for item in (*found, *problems):
        assert 1 <= item.line <= data.count(b"\n") + data.count(b"\r") + 1


# --- recognition ----------------------------------------------------------------------------------


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("duplicate"), st.integers(0, 20)),
        st.tuples(st.just("rewrite"), STYLE),
        st.tuples(st.just("replace"), STYLE),
        st.tuples(st.just("footer"), st.just(0)),
        st.tuples(st.just("truncate"), st.integers(0, 20)),
        st.tuples(st.just("restore"), st.just(0)),
        st.tuples(st.just("remove"), st.integers(0, 20)),
        st.tuples(st.just("delete"), st.just(0)),
        st.tuples(st.just("forget"), st.just(0)),
    ),
    max_size=14,
)


class Writer:
    """Everybody who writes to the file, and what stands in it."""

    def __init__(self, path):
        self.path, self.standing, self.best, self.count = path, [], [], 0

    def fresh(self):
        self.count += 1
        return {
            "timestamp": f"2026-02-01T12:00:{self.count:02}Z",
            "type": "started",
            "run": self.count,
            "note": "a: 'b'",
        }

    def append(self, number):
        self._add([self.fresh() for _ in range(number)])

    def duplicate(self, at):
        if self.standing:
            self._add([self.standing[at % len(self.standing)]])

    def _add(self, items):
        self.standing += items
        with self.path.open("a") as stream:
            stream.write("\n" + yaml.safe_dump(items, sort_keys=False))

    def rewrite(self, style):
        self.path.write_text(dump({"events": self.standing}, *style, sort=True, indented=True))

    def replace(self, style):
        other = self.path.with_suffix(".tmp")
        other.write_text(dump(self.standing, *style, sort=False, indented=False))
        other.replace(self.path)

    def footer(self, _):
        if self.path.exists():
            with self.path.open("a") as stream:
                stream.write("metadata:\n  total: 1\n")

    def truncate(self, at):
        self.best = max(self.best, list(self.standing), key=len)
        del self.standing[at:]
        self.rewrite((None, 80, False))

    def remove(self, at):
        if self.standing:
            del self.standing[at % len(self.standing)]
        self.rewrite(("'", 80, False))

    def restore(self, _):
        if self.best:
            self.standing = list(self.best)
            self.rewrite(('"', 80, False))

    def delete(self, _):
        self.best = max(self.best, list(self.standing), key=len)
        self.standing = []
        self.path.unlink(missing_ok=True)


@settings(max_examples=200, deadline=None)
@given(OPERATIONS, st.lists(st.booleans(), min_size=14, max_size=14), st.booleans())
def test_delivered_is_what_was_written(tmp_path_factory, operations, looks, thorough):
    path = tmp_path_factory.mktemp("w") / "events.yaml"
    writer, memory = Writer(path), Memory(path, path.parent)
    most = Counter()
    for (name, argument), look in zip(operations, looks, strict=False):
        if name == "forget":  # a hub killed in the middle of a reading
            with contextlib.suppress(FileNotFoundError):
                memory.look(batches_max=1, settled=False)
            continue
        getattr(writer, name)(argument)
        if look and path.exists():
            memory.look(thorough=thorough)
            most |= Counter(fingerprint(item) for item in writer.standing)
    if path.exists():
        memory.look()
        most |= Counter(fingerprint(item) for item in writer.standing)
    if "forget" not in dict(operations):
        assert memory.counts() == most
    else:  # a reading in between may see records that are gone by the next look
        assert memory.counts() >= most
        assert set(memory.counts()) <= {fingerprint(r) for r in _all(writer)}


def _all(writer):
    again = Writer(writer.path)
    return [again.fresh() for _ in range(writer.count)]
