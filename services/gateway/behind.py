"""What stands behind the gateway when it is in front of Prefect's server, and what that is used for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.gateway import posture, shadow, upstream
from services.gateway.fallback import Fallback
from services.gateway.posture import Posture
from services.gateway.shadow import Shadow
from services.gateway.upstream import Upstream
from shared.settings import PREFIX, Settings, SettingsError


@dataclass(frozen=True, slots=True)
class Behind:
    """Prefect's server; whether we ask of clients what it asks; its places as a stand-in and as a witness, if any."""

    upstream: Upstream
    posture: Posture
    fallback: Fallback | None
    shadow: Shadow | None


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Behind | None]:
    """Prefect's server, if the gateway is in front of one. Raises SettingsError for settings that need one."""
    if not settings.upstream:
        if settings.shadow:
            raise SettingsError(f"{PREFIX}SHADOW: needs {PREFIX}UPSTREAM, the server to compare with")
        yield None
        return
    async with (
        upstream.opened(settings) as server,
        posture.watched(server, settings) as seen,
        shadow.opened(server, settings) as witness,
    ):
        yield Behind(server, seen, Fallback(server, settings) if settings.fallback else None, witness)
