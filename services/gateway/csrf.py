"""Cross-site request forgery: what could change something must show a token that Prefect's server gave the client.

So must searches, being POST. The database has the tokens, and the deployments service compares.
"""

from hashlib import sha256

from aiohttp import web

from services.gateway.http import Context
from services.gateway.problems import Problem
from shared.contract import CSRF, CsrfToken

TOKENS = "/api/csrf-token"
CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
INVALID = "Invalid CSRF token or client identifier."  # Prefect's client reads it, gets a new token, and asks again


async def check(context: Context, request: web.BaseRequest) -> None:
    """Raises Problem without a valid token, and what the service raises. Prefect checks this before anything else,
    CORS too: a script of another origin is not told what it forgot.
    """
    if not context.settings.csrf_protection_enabled or request.method not in CHANGES:
        return
    token = _shown(request, "prefect-csrf-token", "Missing CSRF token.")
    client = _shown(request, "prefect-csrf-client", "Missing client identifier.")
    shown = CsrfToken(client=client, digest=sha256(token.encode()).digest())
    with context.admission.one():
        verdict = await context.bus.call(CSRF, shown, context.settings.deadline)
    if not verdict.valid:
        raise Problem(403, INVALID, {"access-control-allow-origin": "*"}, cors=False)


def stands_in(context: Context, request: web.BaseRequest, path: str) -> bool:
    """Whether a client that wants a token hears from us that none is needed, since the upstream cannot say so itself.

    Prefect's client asks before its first search, and gives up when it hears nothing.
    """
    behind, protected = context.behind, context.settings.csrf_protection_enabled
    asked = (request.method, path) == ("GET", TOKENS)
    return asked and not protected and behind is not None and behind.posture.needs_no_token


def _shown(request: web.BaseRequest, header: str, missing: str) -> str:
    """What a header says, read as Latin-1, as Prefect reads it."""
    given = request.headers.get(header)
    if given is None:
        raise Problem(403, missing, cors=False)
    return given.encode(errors="surrogateescape").decode("latin-1")
