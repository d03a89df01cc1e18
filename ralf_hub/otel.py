"""Traces by OpenTelemetry, sent as OTLP over HTTP. Imported only where the settings ask for traces (extra `otel`).

https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ralf_hub import __version__, context
from ralf_hub.model import Delivery, Event

_FAULT_FROM = 500
_propagator = TraceContextTextMapPropagator()
_next_id: ContextVar[int | None] = ContextVar("next_id", default=None)


class _Ids(RandomIdGenerator):
    """Gives a span the id that was promised for it, where one was."""

    def generate_span_id(self) -> int:
        return _next_id.get() or super().generate_span_id()


def _under(parent: str | None) -> Context:
    """Return the context of a `traceparent`; an empty one, where a new trace begins, for None or nonsense."""
    return _propagator.extract({"traceparent": parent} if parent else {}, context=Context())


def _named(span: Span) -> str:
    """Return the `traceparent` of *span*."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=set_span_in_context(span, Context()))
    return carrier["traceparent"]


class OpenTelemetry:
    """Keeps the traces of one hub."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        resource = Resource.create({"service.name": service, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, id_generator=_Ids())
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("ralf_hub", __version__)

    @contextmanager
    def request(self, name: str, given: str | None, number: str) -> Iterator[Callable[[int], None]]:
        """Open the span of a request."""
        method, _, route = name.partition(" ")
        span = self._tracer.start_span(
            name,
            context=_under(given),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": route, "ralf_hub.request_id": number},
        )

        def ended(status: int) -> None:
            span.set_attribute("http.response.status_code", status)
            if status >= _FAULT_FROM:
                span.set_status(Status(StatusCode.ERROR))

        with _open(span):
            yield ended

    def events(self) -> "EventSpans":
        """Return what notes the events of one change."""
        return EventSpans(self, context.traceparent.get())

    @contextmanager
    def delivery(self, delivery: Delivery, parent: str | None) -> Iterator[Callable[[str, int | None], None]]:
        """Open the span of one try."""
        span = self._tracer.start_span(
            f"deliver {delivery.event_type} to {delivery.connector}",
            context=_under(parent),
            kind=SpanKind.CLIENT,
            attributes={
                "ralf_hub.delivery_id": delivery.id,
                "ralf_hub.connector": delivery.connector,
                "ralf_hub.action": delivery.action,
                "ralf_hub.attempt": delivery.attempts + 1,
            },
        )

        def ended(outcome: str, status: int | None) -> None:
            span.set_attribute("ralf_hub.outcome", outcome)
            if status is not None:
                span.set_attribute("http.response.status_code", status)
            if outcome != "delivered":
                span.set_status(Status(StatusCode.ERROR, outcome))

        with _open(span):
            yield ended

    def note(self, event: Event, parent: str | None, own: str) -> None:
        """Keep the span of an event that is on disk; *own* is the `traceparent` it was promised."""
        version, trace_id, span_id, flags = own.split("-")
        promised = _next_id.set(int(span_id, 16))
        try:
            under = _under(parent or f"{version}-{trace_id}-{span_id}-{flags}")
            attributes: dict[str, str | int] = {
                "ralf_hub.event_id": event.id,
                "ralf_hub.seq": event.seq,
                "ralf_hub.source": event.source,
            }
            if event.task_id is not None:
                attributes["ralf_hub.task_id"] = event.task_id
            self._tracer.start_span(f"event {event.type}", context=under, attributes=attributes).end()
        finally:
            _next_id.reset(promised)

    def new_ids(self, parent: str | None) -> str:
        """Return the `traceparent` of a span to come under *parent*."""
        ids = self._provider.id_generator
        known = _trace_of(parent)
        trace_id = known if known is not None else f"{ids.generate_trace_id():032x}"
        return f"00-{trace_id}-{ids.generate_span_id():016x}-01"

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _trace_of(parent: str | None) -> str | None:
    """Return the id of the trace *parent* belongs to."""
    return parent.split("-")[1] if parent else None


class EventSpans:
    """The events of one change, under the span that was open when it began."""

    def __init__(self, owner: OpenTelemetry, parent: str | None) -> None:
        self._owner = owner
        self._parent = parent
        self._begun: list[tuple[Event, str]] = []

    def begin(self, event: Event) -> str:
        """Return the `traceparent` of *event*."""
        own = self._owner.new_ids(self._parent)
        self._begun.append((event, own))
        return own

    def committed(self) -> None:
        """Keep their spans."""
        for event, own in self._begun:
            self._owner.note(event, self._parent, own)


@contextmanager
def _open(span: Span) -> Iterator[None]:
    token = context.traceparent.set(_named(span))
    try:
        yield
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        context.traceparent.reset(token)
        span.end()


def start(service: str, endpoint: str) -> OpenTelemetry:
    """Return traces that go to the OTLP receiver at *endpoint*, such as `http://127.0.0.1:4318/v1/traces`."""
    return OpenTelemetry(service, OTLPSpanExporter(endpoint=endpoint))
