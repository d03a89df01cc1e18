"""Reading events.yaml and events.ldjson in whatever state they are: every record that can be read."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from ralf_hub.model import Json
from ralf_hub.workspace import chunks, values
from ralf_hub.workspace.chunks import START, Chunk, Place, Readable, Scanner
from ralf_hub.workspace.ldjson import JsonScanner, decode
from ralf_hub.workspace.loading import UnreadableError
from ralf_hub.workspace.meaning import (
    TASK_FIELDS,
    TIME_FIELDS,
    TYPE_FIELDS,
    Meaning,
    is_placeholder,
    public_part,
    task_id,
    type_name,
)
from ralf_hub.workspace.records import EventRecord, Limits, Problem
from ralf_hub.workspace.scalars import digest, fingerprint, json_safe, time_iso


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read events: the file's name for problems, the zone of naive times, meanings, limits."""

    file: str
    zone: tzinfo = UTC
    meaning: Meaning = field(default_factory=Meaning)
    limits: Limits = field(default_factory=Limits)

    @property
    def is_ldjson(self) -> bool:
        """Whether the file's name says one JSON object a line."""
        return self.file.endswith((".ldjson", ".jsonl", ".ndjson", ".json"))


@dataclass(frozen=True, slots=True)
class Part:
    """What one piece of the file gave: its records, its problems, and where to begin again to see it."""

    place: Place
    resume: Place
    length: int
    records: Sequence[EventRecord]
    problems: Sequence[Problem]


def iter_events(
    stream: Readable,
    reading: Reading,
    start: Place | None = None,
) -> Iterator[Part]:
    """Yield the parts of an events file from *stream*, which stands at `start.offset`.

    Never raises for what is in the file. Memory is bounded by the limits, whatever the file's size.
    """
    scanner: Iterable[Chunk]
    if reading.is_ldjson:
        scanner = JsonScanner(stream, start or START, reading.limits.record_bytes_max)
    else:
        scanner = Scanner(stream, start or START, reading.limits.record_bytes_max)
    reader = _ChunkReader(reading)
    for chunk in scanner:
        yield reader.part(chunk)


class _ChunkReader:
    """Turns chunks into records; keeps what it learned of fields that repeat."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._simple = values.SimpleReader()
        self._records: list[EventRecord] = []
        self._problems: list[Problem] = []
        self._in_prompt = False
        """Whether the last record was a prompt that is not YAML: what follows may be text of it."""
        self._read: Mapping[str, Callable[[Chunk], None]] = {
            chunks.SIMPLE: self._simple_record,
            chunks.RECORD: self._record,
            chunks.JSON: self._json,
            chunks.FLOW: self._flow,
            chunks.TOO_LONG: self._too_long,
            chunks.GARBAGE: self._garbage,
        }

    def part(self, chunk: Chunk) -> Part:
        """Return the records and problems of *chunk*."""
        self._records, self._problems = [], []
        try:
            self._read[chunk.kind](chunk)
        except UnreadableError as error:
            self._problem(chunk.place.line + error.line, f"not a record ({error}); left out")
        resume = chunk.resume or chunk.place
        return Part(chunk.place, resume, len(chunk.data), self._records, self._problems)

    def _problem(self, line: int, message: str) -> None:
        self._problems.append(Problem(self._reading.file, line, message))

    def _simple_record(self, chunk: Chunk) -> None:
        found = self._simple.fields(chunk.data)
        if found is None:
            self._record(chunk)
        else:
            self._event(found[0], chunk.place.line, name=digest(found[1]))

    def _record(self, chunk: Chunk) -> None:
        line = chunk.place.line
        for piece in values.record_pieces(self._text(chunk)):
            for offset, why in piece.damage:
                self._problem(line + offset, why)
            self._event(piece.fields, line + piece.line, damaged=bool(piece.damage), complete=chunk.ended)

    def _json(self, chunk: Chunk) -> None:
        self._event(values.mapping(decode(self._text(chunk))), chunk.place.line, complete=chunk.ended)

    def _flow(self, chunk: Chunk) -> None:
        for offset, fields in values.flow_records(self._text(chunk)):
            line = chunk.place.line + offset
            if fields is None:
                self._problem(line, "not a mapping of fields; left out")
            else:
                self._event(fields, line, complete=chunk.ended)

    def _too_long(self, chunk: Chunk) -> None:
        limit = self._reading.limits.record_bytes_max
        self._problem(chunk.place.line, f"a record longer than record_bytes_max ({limit}); left out")

    def _garbage(self, chunk: Chunk) -> None:
        self._problem(chunk.place.line, "not a record; left out")

    def _text(self, chunk: Chunk) -> str:
        try:
            return chunk.data.decode()
        except UnicodeDecodeError as error:
            line = chunk.place.line + chunk.data.count(b"\n", 0, error.start)
            self._problem(line, "bytes that are not UTF-8; replaced")
            return chunk.data.decode(errors="replace")

    def _event(
        self,
        fields: values.Fields,
        line: int,
        *,
        name: str | None = None,
        damaged: bool = False,
        complete: bool = True,
    ) -> None:
        """Keep the event that *fields* say, or the problem why there is none.

        *name* is their fingerprint where it is known; *damaged* says that some were not YAML.
        """
        type_field, raw_type = _type(fields)
        time_field = next((key for key in TIME_FIELDS if key in fields), "")
        if raw_type is None or is_placeholder(fields.get(time_field)):
            is_template = is_placeholder(fields.get(time_field)) or is_placeholder(fields.get(type_field))
            self._problem(line, "a row of a template; left out" if is_template else "no event type; left out")
            return
        occurred_at = time_iso(fields.get(time_field), self._reading.zone)
        if occurred_at is None:
            if self._in_prompt:
                self._problem(line, "no record, but text of the prompt above; left out")
                return
            self._problem(line, "no timestamp that can be read; recorded without one")
        task, used = _task(fields)
        used |= {type_field, time_field} if occurred_at else {type_field}
        data = {key: json_safe(value) for key, value in fields.items() if key not in used}
        meaning = self._reading.meaning
        hub_type = meaning.hub_type(raw_type, fields)
        is_private = meaning.is_private(raw_type, hub_type)
        self._in_prompt = is_private and damaged
        if is_private:
            data = public_part(data, damaged=damaged)
        name = name or fingerprint(fields)
        self._records.append(EventRecord(hub_type, raw_type, task, occurred_at, data, name, line, complete))


def _type(fields: values.Fields) -> tuple[str, str | None]:
    """Return the field that names the type, and the type."""
    for key in TYPE_FIELDS:
        if key in fields:
            return key, type_name(fields[key])
    return "", None


def _task(fields: values.Fields) -> tuple[str | None, set[str]]:
    """Return the task a record is about, and the fields that say so; a garbage id stays in the data."""
    used = set()
    for key in TASK_FIELDS:
        value = fields.get(key)
        if value is None or value == "":
            used.add(key)
        elif (found := task_id(value)) is not None:
            used.add(key)
            return found, used
    return None, used


def events_in(data: bytes, reading: Reading) -> tuple[list[EventRecord], list[Problem]]:
    """Return all records and problems in *data*; for small files and tests."""
    records: list[EventRecord] = []
    problems: list[Problem] = []
    for part in iter_events(io.BytesIO(data), reading):
        records.extend(part.records)
        problems.extend(part.problems)
    return records, problems


def as_json(record: EventRecord) -> dict[str, Json]:
    """Return the data the hub keeps of *record*: its fields, and RALF's own type where it was another."""
    data = dict(record.data)
    if record.raw_type != record.type:
        data["ralf_type"] = record.raw_type
    return data
