"""Prints docs/subjects.md: every subject, its message, its reply and its errors, from the contract itself."""

import argparse
import typing
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from shared import contract, errors, parts
from shared.contract import ENDPOINTS, Endpoint

INTRODUCTION = f"""# Subjects

Generated from `shared/contract.py` by `make docs`; a test compares.

**Public subjects** are for you. Send a search in Prefect's grammar (docs/search.md) to one and get what the HTTP API
would answer. The message is JSON; with the header `{contract.CONTENT_TYPE}: {contract.MSGPACK}` it is MessagePack,
and so is the reply (an id may then be 16 bytes, an instant a timestamp). An empty message asks with all defaults. The
header `{contract.WITHIN}` gives the seconds you are willing to wait.

**Internal subjects** are between the services: MessagePack, ids as 16 bytes, `within` tells the seconds left.

**Errors.** A reply that is no answer has the headers `{contract.ERROR_CODE}` (the HTTP status) and
`{contract.ERROR_NAME}`, and on public subjects the body that HTTP would have. When no replica listens, NATS itself
replies "no responders".

**Large payloads.** A message or reply beyond the server's `max_payload` arrives empty, with the header
`{parts.HEADER}: <bytes in all> <bytes a part> <subject>`: request that subject with `0`, `1`, … as the message, join
the replies, and publish an empty message there when you need no more. The typed client in `shared/client.py` does it
for you.

**Replicas.** Each takes messages in its queue group and, alone, on `<subject>.<replica id>`. Two more subjects are each
replica's: `classis.v1.<service>.peers` is answered with a `Peer` by all of them (the message is a call's reply address:
who holds it?), and on `classis.v1.<service>.released` a caller publishes the reply address of a call it gives up, which
stops the work. `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` are answered as NATS's services framework does. The headers
`{contract.REQUEST_ID}` and `{contract.TRACEPARENT}` go into the logs and traces of all who work on a search.

A reply address that begins with `classis.` or `$`, or is the service's own, gets no reply.
"""

PUBLIC_ERRORS = "400, 413, 422, 500 and 503, with the body that HTTP would have"
INTERNAL_ERRORS = ", ".join(f"`{name}`" for name in errors.BY_NAME if name not in {"Absent", "Disconnected"})


def arguments(_: argparse.ArgumentParser) -> None:
    """This command takes none."""


def main(_: argparse.Namespace) -> None:
    print(document(), end="")  # noqa: T201


def document() -> str:
    text = [INTRODUCTION]
    for title, public in (("Public", True), ("Internal", False)):
        text.append(f"\n## {title} subjects\n")
        text.extend(_endpoint(endpoint) for endpoint in ENDPOINTS if endpoint.public is public)
    text.append(
        "\n## The messages\n\nEvery field of a search may be null or missing, but for `operator`, which is not null.\n"
    )
    text.extend(_struct(kind) for kind in _structs())
    text.append("\n## The errors\n\n| name | code | ask again? | when |\n|---|---|---|---|\n")
    text.extend(
        f"| `{name}` | {kind.code} | {'yes' if kind.retryable else 'no'} | {kind.__doc__} |\n"
        for name, kind in errors.BY_NAME.items()
    )
    return "".join(text)


def _endpoint(endpoint: Endpoint[Any, Any]) -> str:
    return (
        f"\n### `{endpoint.subject}`\n\n{endpoint.about}\n\n"
        f"- queue group `{endpoint.service}`\n"
        f"- message `{endpoint.request.__name__}`, reply `{_name(endpoint.reply)}`\n"
        f"- errors {PUBLIC_ERRORS if endpoint.public else INTERNAL_ERRORS}\n"
    )


def _struct(kind: type[Struct]) -> str:
    hints = typing.get_type_hints(kind)
    fields = "".join(f"| `{name}` | {_name(hints[name])} |\n" for name in kind.__struct_fields__)
    about = f"{kind.__doc__.strip()}\n\n" if kind.__doc__ and not kind.__doc__.startswith(kind.__name__) else ""
    return f"\n### {kind.__name__}\n\n{about}" + (f"| field | type |\n|---|---|\n{fields}" if fields else "")


def _structs() -> list[type[Struct]]:
    """Every message and what it is made of, in the order of first mention."""
    found: dict[type[Struct], None] = {}
    for endpoint in ENDPOINTS:
        for kind in (*_mentioned(endpoint.request), *_mentioned(endpoint.reply)):
            found.setdefault(kind)
    return list(found)


def _mentioned(hint: Any) -> Iterator[type[Struct]]:
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
        for inner in typing.get_type_hints(hint).values():
            yield from _mentioned(inner)
    for inner in typing.get_args(hint):
        yield from _mentioned(inner)


def _name(hint: Any) -> str:
    """A type in a table: without `None`, which every field of a filter may be."""
    if hint is Any:
        return "JSON"
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{item}`" for item in typing.get_args(hint))
    inner = [_name(item) for item in typing.get_args(hint) if item is not type(None)]
    if typing.get_origin(hint) is list:
        return f"list of {inner[0]}"
    if inner:
        return " or ".join(inner)
    return str(hint.__name__)
