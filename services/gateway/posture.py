"""Whether we ask of clients what the upstream asks of them. Where we ask less, searches are the upstream's to answer:
a gateway without a password, in front of a server that has one, would hand deployments to anybody.
"""

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from secrets import token_hex
from typing import NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from yarl import URL

from services.gateway import auth
from services.gateway.envelope import listed
from services.gateway.upstream import Upstream
from shared.settings import PREFIX, Settings

log = logging.getLogger(__name__)

PAUSE = 30.0  # seconds between two looks
SOON = 1.0  # seconds, while it does not answer, and at least
ASKING = 5.0  # seconds for one question
FIRST = 2.0  # seconds that the first look may take; a gateway does not wait longer for its upstream
PATH = "/api/admin/version"  # nobody is let in there without a password, and POST is not for it
OPEN, LOCKED, NOT_FOUND, TROUBLE = 200, 401, 404, 500
REFUSED = 403  # is for who shows no CSRF token; Prefect says so before it says 401 or 405
AWAY = {502, 503, 504}  # what a proxy says of a server that does not answer
TRIED = 4  # origins of our list, at most
LONGEST = 100  # bytes of a version
AUTH, CSRF, CORS = f"{PREFIX}API_AUTH_STRING", f"{PREFIX}CSRF_PROTECTION_ENABLED", f"{PREFIX}CORS_ALLOWED_ORIGINS"
NO_API = f"{PREFIX}UPSTREAM is no Prefect API: it has no {PATH} (a base path of the server is not supported)"


class Reply(NamedTuple):
    status: int
    text: str
    readers: str | None

    def is_for(self, origin: str) -> bool:
        """Whether pages of this origin may read it."""
        return self.readers in {"*", origin}


class Seen(NamedTuple):
    """What the upstream answers: to anybody, to whoever sends our password, and to a change without a CSRF token.

    Then whether pages of any origin may read it, those of our origins whose pages may not, and the version it tells us.
    """

    anybody: int
    ours: int
    change: int
    any_origin: bool = True
    shut_out: tuple[str, ...] = ()
    version: str = ""


class Posture:
    """Ours beside the upstream's. Until that is known, a password of ours is good enough, and no password is not."""

    def __init__(self, session: ClientSession, settings: Settings) -> None:
        self._session = session
        self._settings = settings
        self._told: tuple[list[str], list[str]] | None = None
        self._seen: Seen | None = None
        self._answers = False
        self._doubted = asyncio.Event()
        self._deaf = False  # to doubts: the last one was for nothing
        self.agrees = bool(settings.api_auth_string)
        self.looked = asyncio.Event()

    async def start(self) -> None:
        """Waits for the first look, but not long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST):
                await self.looked.wait()
        if self._told is None:
            until = f"{AUTH} decides who may search" if self.agrees else "searches are passed on to it"
            log.warning("what the upstream asks of clients is not known yet: until it answers, %s", until)

    async def watch(self) -> None:
        while True:
            doubted = self._doubted.is_set()
            self._doubted.clear()
            try:
                self._take(await look(self._session, self._settings), doubted)
            except (ClientError, OSError, TimeoutError) as error:  # what it told before holds
                self._answers = False
                log.debug("the upstream cannot be looked at: %r", error)
            finally:
                self.looked.set()
            await self._rest()

    async def _rest(self) -> None:
        """Until the next look."""
        await asyncio.sleep(SOON)
        if self._answers:
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE - SOON):
                    await self._doubted.wait()

    @property
    def needs_no_token(self) -> bool:
        """Whether the upstream, when it was last seen, asked for no CSRF token, and for nothing that we do not."""
        return self.agrees and self._seen is not None and self._seen.change != REFUSED

    def heard(self, request: web.BaseRequest, status: int | None) -> None:
        """What it said to a client, None when it was out of reach. Should it have changed, it is looked at at once."""
        if status is None or status in AWAY or (self.agrees and self._surprises(request, status)):
            self._doubt()

    def _surprises(self, request: web.BaseRequest, status: int) -> bool:
        """Whether a client was refused there that is let in here."""
        secret = self._settings.api_auth_string
        if status == LOCKED:
            return not secret or auth.allows(secret, request.headers.get("authorization"))
        return status == REFUSED and not self._settings.csrf_protection_enabled

    def _doubt(self) -> None:
        """Looks again soon. Not when the last doubt changed nothing: clients may cause as many as they like."""
        if not self._deaf:
            self._doubted.set()

    def _take(self, seen: Seen, doubted: bool) -> None:
        self._deaf = doubted and self._answers and seen == self._seen
        self._seen, self._answers = seen, True
        self._compare(seen)

    def _compare(self, seen: Seen) -> None:
        """Sets `agrees`, and tells what differs when that is something else than before."""
        weaker, stricter = differences(self._settings, seen)
        self.agrees = not weaker
        if (weaker, stricter) == self._told:
            return
        self._told = weaker, stricter
        for difference in weaker:
            advice = "" if difference == NO_API else ": set it as there"
            log.error("%s%s; until then, searches are passed on to the upstream", difference, advice)
        for difference in stricter:
            log.warning("%s", difference)
        if self.agrees:
            log.info("clients are asked for no less here than by the upstream")

    def ended(self, watching: asyncio.Task[None]) -> None:
        """A mistake of ours: what is not watched is not relied on."""
        if not watching.cancelled():
            self.agrees = False
            log.error("the upstream is watched no more: searches are passed on to it", exc_info=watching.exception())


async def look(session: ClientSession, settings: Settings) -> Seen:
    """All questions side by side. Raises ClientError, OSError or TimeoutError when one has no answer, or a 5xx."""
    secret = settings.api_auth_string.encode(errors="surrogateescape")
    login = {"authorization": f"Basic {b64encode(secret).decode()}"} if secret else {}
    stranger, named = f"https://{token_hex(8)}.invalid", listed(settings.cors_allowed_origins)[:TRIED]
    from_pages = [("GET", {**login, "origin": origin}) for origin in (stranger, *named)]
    asked = [("GET", {}), ("GET", login), ("POST", login), *from_pages]
    url = URL(f"{settings.upstream.rstrip('/')}{PATH}", encoded=True)
    given = await asyncio.gather(*(_reply(session, url, *one) for one in asked), return_exceptions=True)
    anybody, ours, change, strangers, *others = [_or_raise(one) for one in given]
    shut_out = tuple(origin for origin, other in zip(named, others, strict=True) if not other.is_for(origin))
    version = ours.text.strip().strip('"')
    return Seen(anybody.status, ours.status, change.status, strangers.is_for(stranger), shut_out, version)


async def _reply(session: ClientSession, url: URL, method: str, headers: Mapping[str, str]) -> Reply:
    headers = {"accept-encoding": "identity", "connection": "close", **headers}  # kept, they would be clients' next
    timeout = ClientTimeout(total=ASKING)
    async with session.request(method, url, headers=headers, allow_redirects=False, timeout=timeout) as response:
        if response.status >= TROUBLE:
            raise ClientError(f"status {response.status}")
        text = (await response.content.read(LONGEST)).decode(errors="replace")
        return Reply(response.status, text, response.headers.get("access-control-allow-origin"))


def _or_raise(given: Reply | BaseException) -> Reply:
    if isinstance(given, BaseException):
        raise given
    return given


def differences(settings: Settings, seen: Seen) -> tuple[list[str], list[str]]:
    """Where we ask less of clients than the upstream does, and where more."""
    if NOT_FOUND in {seen.anybody, seen.ours}:
        return [NO_API], []
    secret, tokens = bool(settings.api_auth_string), settings.csrf_protection_enabled
    origins = listed(settings.cors_allowed_origins)
    open_there, tokens_there = seen.anybody == OPEN, seen.change == REFUSED
    less = [
        (not secret and not open_there, f"{AUTH} is not set, but the upstream answers {seen.anybody} to who has none"),
        (secret and seen.ours != OPEN, f"{AUTH} is not the upstream's, which answers {seen.ours} to it"),
        (not tokens and tokens_there, f"{CSRF} is not true, but the upstream asks for CSRF tokens"),
        (not origins and not seen.any_origin, f"{CORS} allows any origin, but the upstream does not"),
        (seen.shut_out, f"{CORS} allows {', '.join(seen.shut_out)}, but the upstream does not"),
    ]
    more = [
        (secret and open_there, f"{AUTH} is set, but the upstream lets everybody in"),
        (tokens and not tokens_there, f"{CSRF} is true, but the upstream gives no tokens: nobody can search"),
        (origins and seen.any_origin, f"{CORS} names origins, but the upstream allows any"),
    ]
    return [text for holds, text in less if holds], [text for holds, text in more if holds]


@asynccontextmanager
async def watched(upstream: Upstream, settings: Settings) -> AsyncIterator[Posture]:
    """The posture, looked at before the block and again and again until it is left."""
    posture = Posture(upstream.session, settings)
    upstream.told = posture.heard
    watching = asyncio.create_task(posture.watch())
    watching.add_done_callback(posture.ended)
    try:
        await posture.start()
        yield posture
    finally:
        watching.cancel()
        await asyncio.wait([watching])
