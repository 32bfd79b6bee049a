"""Logging: the standard `logging` in every module, printed for people or as one JSON object a line.

A JSON line tells time, level, logger, event and service; the request's id and the trace where there are some; and an
exception as text. No value can break a line in two, and none makes a line longer than collectors take.
"""

import json
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, StackInfoRenderer, format_exc_info
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from shared import tracing
from shared.origin import request_id
from shared.settings import Settings

LINES = 20  # a second, of one place in the code
LONGEST = 6000  # characters of an event or a traceback: with both, a line stays below the 16 KiB that collectors take
CONTROLS = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0))}
QUIET = {  # they tell of every attempt to send spans; that it failed in the end is told
    "urllib3": logging.ERROR,
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": logging.ERROR,
    "opentelemetry.util.re": logging.ERROR,  # it prints headers that it cannot read, which hold tokens
}


def configure(settings: Settings, services: Sequence[str]) -> None:
    """From here on, whatever is logged in this process goes to stderr in the form that was chosen."""
    handler = Steady(sys.stderr)
    handler.addFilter(Flood())
    handler.setFormatter(formatter(settings.log_format, services, colors=sys.stderr.isatty()))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)


def formatter(log_format: str, services: Sequence[str], *, colors: bool = False) -> logging.Formatter:
    """What prints a record."""
    ours: list[Processor] = [told, StackInfoRenderer()]
    if log_format == "json":
        service = services[0] if len(services) == 1 else "classis"

        def of(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
            return {**event, "service": service}

        last: list[Processor] = [of, format_exc_info, short, JSONRenderer(json.dumps, default=repr)]
    else:
        last = [short, on_one_line, ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)]
    return ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, *last], foreign_pre_chain=ours, use_get_message=True
    )


def told(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """What is known of a record besides its text."""
    record: logging.LogRecord = event["_record"]
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {"timestamp": time, "level": record.levelname.lower(), "logger": record.name, **event}
    if asked := request_id.get():
        event["request_id"] = asked
    if trace := tracing.traceparent():
        event["trace_id"] = trace.split("-")[1]
    return event


def short(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Texts of bearable length: the beginning of an event, the end of a traceback."""
    if len(text := event["event"]) > LONGEST:
        event["event"] = f"{text[:LONGEST]}… ({len(text) - LONGEST} characters more)"
    if len(text := event.get("exception", "")) > LONGEST:
        event["exception"] = f"… {text[-LONGEST:]}"
    return event


def on_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """An event without control characters: a value in it can neither forge a line nor drive a terminal."""
    event["event"] = event["event"].translate(CONTROLS)
    return event


class Flood(logging.Filter):
    """Holds back what one place in the code logs all the time, as under overload; the next line tells how many it was.

    Lines for debugging pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}  # place → when its second began, lines since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        place = record.pathname, record.lineno
        began, lines = self._seen.get(place, (0.0, 0))
        if record.created < began + 1:
            self._seen[place] = began, lines + 1
            return lines < LINES
        self._seen[place] = record.created, 1
        if lines > LINES:
            record.msg, record.args = f"{record.getMessage()} (and {lines - LINES} more like it)", ()
        return True


class Steady(logging.StreamHandler):  # type: ignore[type-arg]
    """A handler that tells of a record it cannot print, in the form of all others, instead of a bare traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 — logging's own name
        error = sys.exc_info()[1]
        text = f"a record of {record.pathname}:{record.lineno} cannot be printed: {type(error).__name__}"
        with suppress(Exception):  # stderr itself is gone: nobody is left to tell
            spare = logging.LogRecord("shared.logs", logging.ERROR, record.pathname, record.lineno, text, None, None)
            self.stream.write(self.format(spare) + self.terminator)
            self.flush()
