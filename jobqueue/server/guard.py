"""Who may talk to this server at all, whatever the route: the defence against DNS rebinding and foreign pages.

A page on the internet can let its own name resolve to 127.0.0.1 and then reads a loopback API as "same origin".
What it can't do is forge the ``Host`` and ``Origin`` its victim's browser sends; so both must be known.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from jobqueue.server.context import deps
from jobqueue.server.problems import Forbidden

_AUTHORITY: Final = re.compile(r"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def host_name(authority: str) -> str | None:
    """The host of ``host[:port]`` in lower case, without port and brackets; None when it is malformed.

    >>> host_name("LocalHost:8484"), host_name("[::1]:8484"), host_name("evil.example@127.0.0.1")
    ('localhost', '::1', None)
    """
    match = _AUTHORITY.fullmatch(authority.lower())
    return match["name"].strip("[]").rstrip(".") if match else None


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine's own.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("127.0.0.1.nip.example")
    (True, True, True, False)
    """
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def same_origin(origin: str, host: str) -> bool:
    """Whether an ``Origin`` names the very host and port the request was sent to.

    The scheme is not compared: behind a proxy that ends TLS this server sees plain HTTP.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:  # brackets that are no address
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()


def is_own_request(request: web.Request) -> bool:
    """Whether the request provably comes from this server's own page; asked of requests a cookie vouches for."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    return site == "same-origin" and same_origin(request.headers.get("Origin", ""), request.headers["Host"])


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests for a host this server isn't, and from pages it didn't serve."""
    hosts = request.headers.getall("Host", [])
    name = host_name(hosts[0]) if len(hosts) == 1 else None
    if name is None:
        raise web.HTTPBadRequest(text="send exactly one well-formed Host header")
    if not is_loopback(name) and name not in deps(request).limits.allowed_hosts:
        raise web.HTTPMisdirectedRequest(
            text="this server does not answer to that host name: use the loopback address, "
            "or add the name to JOBQUEUE_ALLOWED_HOSTS"
        )
    if not all(same_origin(origin, hosts[0]) for origin in request.headers.getall("Origin", [])):
        raise Forbidden("requests from pages of another origin are refused: use this server's own page, or an API key")
    return await handler(request)


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Set on every response what its handler didn't set itself (an ``on_response_prepare`` signal)."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "jobqueue"  # no version numbers for the curious
