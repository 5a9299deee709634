"""The live page and the way into it.

The page itself holds no data, so anyone may load it; what it shows it asks of the API, with the session's cookie.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from typing import Final

from aiohttp import web

from jobqueue.ports import AuditEntry
from jobqueue.server.auth import SESSION_COOKIE, SESSION_TTL_S
from jobqueue.server.context import deps

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

# Read once: a handful of small files, and no path a request could walk out of.
FILES: Final = {
    entry.name: entry.read_bytes()
    for entry in resources.files("jobqueue.server").joinpath("static").iterdir()
    if entry.name.rpartition(".")[2] in _TYPES
}


def _file(name: str) -> web.Response:
    return web.Response(
        body=FILES[name],
        content_type=_TYPES[name.rpartition(".")[2]],
        charset="utf-8",
        headers={"Content-Security-Policy": _CSP, "Cache-Control": "no-cache"},
    )


async def index(_request: web.Request) -> web.Response:
    """``GET /``."""
    return _file("index.html")


async def static(request: web.Request) -> web.Response:
    """``GET /static/{name}``."""
    name = request.match_info["name"]
    if name not in FILES:
        raise web.HTTPNotFound
    return _file(name)


async def login(request: web.Request) -> web.Response:
    """``GET /login?token=…``: trade the one-time token for a session cookie and go to the page."""
    using = deps(request)
    secret, who = using.access.open_session(request.query.get("token", ""))
    async with using.records.unit() as unit:
        await unit.audit(
            AuditEntry(
                tenant_id=who.tenant_id,
                actor=who.actor,
                action="session.open",
                subject=who.key_id,
                at=datetime.now(UTC),
            )
        )
    response = web.Response(status=303, headers={"Location": "/"})
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=SESSION_TTL_S,
        path="/",
        httponly=True,
        samesite="Strict",
        secure=request.secure or using.limits.https,
    )
    return response
