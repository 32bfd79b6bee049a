"""Who is missing for searches to be answered: NATS, services, their databases, the upstream. For `/api/ready`."""

import asyncio
from typing import Any

from services.gateway.behind import Behind
from shared.bus import Bus
from shared.calling import encode
from shared.contract import ERROR_NAME, READY, Endpoint, Readiness
from shared.errors import Disconnected, FleetError
from shared.line import Message

WITHIN = 2.5  # seconds; a service has LOOKING for its database, and the rest to say that there was no answer
LOOKING = 1.5
NATS = "NATS"
SILENT, BLIND = "", "database of "  # services that are not ready
WITHOUT_DATABASE = {"DatabaseDown", "DeadlineSpent"}  # what they say then


async def missing(bus: Bus, behind: Behind | None) -> list[str]:
    """Who is missing for searches to be answered; nobody while an upstream that is well stands in for the fleet."""
    if behind is None:
        return await _absent(bus)
    # Beside the services: each may be silent.
    asked = asyncio.create_task(behind.upstream.status("GET", "/api/ready", {}))
    try:
        absent = await _absent(bus)
        if not absent and behind.posture.agrees:
            return []
        return [] if await asked == 200 else [*absent, "upstream"]
    finally:
        asked.cancel()


async def _absent(bus: Bus) -> list[str]:
    """The services that do not answer, and those that say so of their databases; without NATS, none can be asked."""
    kinds = await asyncio.gather(*(_trouble(bus, endpoint) for endpoint in READY.values()))
    if NATS in kinds:
        return [NATS]
    found = list(zip(READY, kinds, strict=True))
    by_kind = {kind: ", ".join(name for name, its in found if its == kind) for kind in (SILENT, BLIND)}
    return [f"{kind}{names}" for kind, names in by_kind.items() if names]


async def _trouble(bus: Bus, endpoint: Endpoint[Any, Any]) -> str | None:
    """How a service is not ready, if it is not."""
    try:
        reply = await bus.ask(endpoint, Message(encode(Readiness(within=LOOKING))), WITHIN)
    except Disconnected:
        return NATS
    except FleetError:
        return SILENT
    said = reply.headers.get(ERROR_NAME)
    return None if said is None else BLIND if said in WITHOUT_DATABASE else SILENT
