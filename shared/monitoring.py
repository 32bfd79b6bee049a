"""The port for those who run the fleet: what a process counts, whether it lives, whether it could answer."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from shared import readiness
from shared.settings import Settings

log = logging.getLogger(__name__)

CLOSING = 1.0  # seconds a scrape has to end


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[None]:
    """Answers /metrics, /health and /ready on the metrics port, if there is to be one. Raises OSError."""
    if not settings.metrics_port:
        yield
        return
    runner = web.ServerRunner(web.Server(_answer, access_log=None), shutdown_timeout=CLOSING)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.where_metrics_are, settings.metrics_port).start()
        log.info("metrics on port %d", settings.metrics_port)
        yield
    finally:
        await runner.cleanup()


async def _answer(request: web.BaseRequest) -> web.Response:
    match request.path:
        case "/metrics":
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
            return web.Response(body=encode(REGISTRY), headers={"content-type": content_type})
        case "/health":
            return web.Response(text="OK\n")
        case "/ready":
            missing = readiness.missing()
            text = f"Not ready: {', '.join(missing)}\n" if missing else "OK\n"
            return web.Response(text=text, status=503 if missing else 200)
    return web.Response(text="/metrics, /health and /ready are here\n", status=404)
