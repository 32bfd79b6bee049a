"""Whether we ask of clients what the upstream asks of them. Where we ask less, searches are the upstream's to answer:
a gateway without a password, in front of a server that has one, would hand deployments to anybody.
"""

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from services.gateway.upstream import Upstream
from shared.settings import PREFIX, Settings

log = logging.getLogger(__name__)

PAUSE = 30.0  # seconds between two looks
FIRST = 2.0  # seconds that the first look may take; a gateway does not wait longer for its upstream
PATH = "/api/admin/version"  # nobody is let in there without a password, and POST is not for it
OPEN, REFUSED = 200, 403  # 403 is for who shows no CSRF token; Prefect says so before it says 401 or 405
AUTH, CSRF = f"{PREFIX}API_AUTH_STRING", f"{PREFIX}CSRF_PROTECTION_ENABLED"


class Seen(NamedTuple):
    """What the upstream answers: to anybody, to whoever sends our password, and to a change without a CSRF token."""

    anybody: int
    ours: int
    change: int


class Posture:
    """Ours beside the upstream's. Until that has been reached, our own settings decide."""

    def __init__(self, upstream: Upstream, settings: Settings) -> None:
        self._upstream = upstream
        self._settings = settings
        self._told: tuple[list[str], list[str]] | None = None
        self.agrees = True
        self.looked = asyncio.Event()

    async def watch(self) -> None:
        while True:
            try:
                if seen := await self.look():
                    self._compare(seen)
            finally:
                self.looked.set()
            await asyncio.sleep(PAUSE)

    async def look(self) -> Seen | None:
        """Nothing when the upstream does not answer, or is in trouble: it stays as it was."""
        secret = self._settings.api_auth_string.encode(errors="surrogateescape")
        login = {"authorization": f"Basic {b64encode(secret).decode()}"} if secret else {}
        asked = [("GET", {}), ("GET", login), ("POST", login)]
        given = [await self._upstream.status(method, PATH, headers) for method, headers in asked]
        found = [status for status in given if status and status < 500]
        return Seen(*found) if len(found) == len(given) else None

    def _compare(self, seen: Seen) -> None:
        """Sets `agrees`, and tells what differs when that is something else than before."""
        weaker, stricter = differences(self._settings, seen)
        self.agrees = not weaker
        if (weaker, stricter) == self._told:
            return
        self._told = weaker, stricter
        for difference in weaker:
            log.error("%s: set it as there; until then, searches are passed on to the upstream", difference)
        for difference in stricter:
            log.warning("%s", difference)
        if self.agrees:
            log.info("clients are asked for no less here than by the upstream")

    def ended(self, watching: asyncio.Task[None]) -> None:
        """A mistake of ours: what is not watched is not relied on."""
        if not watching.cancelled():
            self.agrees = False
            log.error("the upstream is watched no more: searches are passed on to it", exc_info=watching.exception())


def differences(settings: Settings, seen: Seen) -> tuple[list[str], list[str]]:
    """Where we ask less of clients than the upstream does, and where more."""
    secret, tokens = bool(settings.api_auth_string), settings.csrf_protection_enabled
    open_there, tokens_there = seen.anybody == OPEN, seen.change == REFUSED
    less = [
        (not secret and not open_there, f"{AUTH} is not set, but the upstream answers {seen.anybody} to who has none"),
        (secret and seen.ours != OPEN, f"{AUTH} is not the upstream's, which answers {seen.ours} to it"),
        (not tokens and tokens_there, f"{CSRF} is not true, but the upstream asks for CSRF tokens"),
    ]
    more = [
        (secret and open_there, f"{AUTH} is set, but the upstream lets everybody in"),
        (tokens and not tokens_there, f"{CSRF} is true, but the upstream gives no tokens: nobody can search"),
    ]
    return [text for holds, text in less if holds], [text for holds, text in more if holds]


@asynccontextmanager
async def watched(upstream: Upstream | None, settings: Settings) -> AsyncIterator[Posture | None]:
    """The posture, looked at before the block and again and again until it is left; none without an upstream."""
    if upstream is None:
        yield None
        return
    posture = Posture(upstream, settings)
    watching = asyncio.create_task(posture.watch())
    watching.add_done_callback(posture.ended)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(posture.looked.wait(), FIRST)
        yield posture
    finally:
        watching.cancel()
        await asyncio.wait([watching])
