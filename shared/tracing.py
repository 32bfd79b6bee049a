"""Traces, if somebody collects them: spans by OpenTelemetry, sent where its standard variables say.

Without OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) nothing of OpenTelemetry is even loaded, and `span` gives one
and the same context manager that does nothing.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

Kind = Literal["server", "client", "internal"]
Attribute = str | int | float | bool

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Span(Protocol):
    """What happens between the ends of a `with` block."""

    def set_attribute(self, key: str, value: Attribute) -> None: ...


class Tracer(Protocol):
    """What makes spans: `shared.spans.Tracer`, once it is loaded."""

    def span(
        self, name: str, parent: str, kind: Kind, attributes: Mapping[str, Attribute]
    ) -> AbstractContextManager[Span]: ...

    def traceparent(self) -> str: ...


class Nothing:
    """The span of a process that traces nothing."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_attribute(self, key: str, value: Attribute) -> None:
        pass


NOTHING = Nothing()
_tracer: Tracer | None = None


def span(
    name: str, *, parent: str = "", kind: Kind = "internal", **attributes: Attribute
) -> AbstractContextManager[Span]:
    """The current span of a block, below `parent` (a W3C traceparent), else below the span that is current before.

    `name` takes a few values only. Of an error that leaves the block, the class's name is told, never its text.
    """
    if _tracer is None:
        return NOTHING
    return _tracer.span(name, parent, kind, attributes)


def traceparent() -> str:
    """The current span, as W3C Trace Context writes it; "" when there is none."""
    return _tracer.traceparent() if _tracer else ""


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own variables ask for traces."""
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    none = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    return any(environment.get(name) for name in ENDPOINTS) and not off and not none


@contextmanager
def exporting(services: Sequence[str]) -> Iterator[None]:
    """Sends the spans of the block, if they are wanted; leaving waits some seconds at most for the last of them."""
    global _tracer  # noqa: PLW0603 — one a process, as with loggers
    if not wanted(os.environ):
        yield
        return
    from shared import spans  # noqa: PLC0415 — it takes memory and time to load, which nobody else should pay

    with spans.exporting(f"classis-{services[0]}" if len(services) == 1 else "classis") as made:
        _tracer = made
        try:
            yield
        finally:
            _tracer = None
