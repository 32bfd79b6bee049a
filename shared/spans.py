"""Spans by OpenTelemetry. Only `shared.tracing` loads this, and only where traces are wanted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from threading import Thread
from types import TracebackType

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

import shared
from shared.settings import SettingsError

LEAVING = 3.0  # seconds the last spans have to be sent
KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}


class Opened:
    """One span, for one `with` block."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    _token: Token[context.Context]

    def __enter__(self) -> trace.Span:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind:
            self._span.set_attribute("error.type", kind.__name__)
            if issubclass(kind, Exception):  # to be cancelled is no failure
                self._span.set_status(Status(StatusCode.ERROR))
        context.detach(self._token)
        self._span.end()


class Tracer:
    """Makes spans of one provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._start = provider.get_tracer("classis", shared.VERSION).start_span
        self._read = TraceContextTextMapPropagator().extract

    def span(self, name: str, parent: str, kind: str, attributes: Mapping[str, AttributeValue]) -> Opened:
        above = self._read({"traceparent": parent}) if parent else None
        return Opened(self._start(name, above, KINDS[kind], attributes))

    def traceparent(self) -> str:
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return ""
        return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"


@contextmanager
def exporting(service: str) -> Iterator[Tracer]:
    """A tracer whose spans are sent in the background. A collector that is not there costs no request anything.

    Raises SettingsError for a value that OpenTelemetry refuses; of what it ignores it warns.
    """
    named = {"service.name": service, "service.version": shared.VERSION}
    told = OTELResourceDetector().detect().attributes  # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
    try:
        provider = TracerProvider(resource=Resource.create({**named, **told}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise SettingsError(f"a variable of OpenTelemetry, OTEL_…: {error}") from error
    try:
        yield Tracer(provider)
    finally:
        last = Thread(target=provider.shutdown, name="last-spans", daemon=True)  # its own limit is 30 s
        last.start()
        last.join(LEAVING)
