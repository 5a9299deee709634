"""One log event per request: what was asked and how it went, never a secret, a name or a text."""

from __future__ import annotations

import time
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from jobqueue.server.context import CALLER

log = structlog.get_logger()

_CLIENT_GONE: Final = 499  # as nginx counts a client that left before its answer


@web.middleware
async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log each request at its end, event streams and broken ones included."""
    started = time.monotonic()
    status = _CLIENT_GONE
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        resource = request.match_info.route.resource
        log.info(
            "request",
            method=request.method,
            # The template, not the path: what people mistype into an address may be a secret or a name.
            path=resource.canonical if resource is not None else None,
            status=status,
            seconds=round(time.monotonic() - started, 4),
            tenant=request[CALLER].tenant_id if CALLER in request else None,
        )
