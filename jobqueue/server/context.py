"""What every handler of the server needs, and how it gets at it: the injected ports, the limits, the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from jobqueue.ports import BlobStore, Records, Role, Seal, TaskQueue
from jobqueue.server.streams import StreamSlots

if TYPE_CHECKING:
    from jobqueue.server.auth import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """How much one request may ask for, and whom the server answers.

    Attributes:
        max_upload_bytes: the largest file; one byte more is refused while it streams in.
        max_json_bytes: the largest JSON body.
        upload_timeout_s: the longest a whole upload may take.
        idle_timeout_s: the longest a client may leave us waiting for its next bytes, or for room to write ours.
        heartbeat_s: the silence after which an event stream sends a comment, so that proxies keep it open.
        ready_timeout_s: the longest a dependency may take to answer ``/readyz``.
        max_streams: event streams one tenant may have open at a time.
        allowed_hosts: host names answered besides the loopback's, without port.
        https: whether people reach this server by TLS that ends in front of it; makes cookies ``Secure``.
    """

    max_upload_bytes: int
    max_json_bytes: int = 65_536
    upload_timeout_s: float = 3600.0
    idle_timeout_s: float = 30.0
    heartbeat_s: float = 15.0
    ready_timeout_s: float = 2.0
    max_streams: int = 64
    allowed_hosts: frozenset[str] = frozenset()
    https: bool = False

    def __post_init__(self) -> None:
        # Host names know no case; the guard compares lower ones.
        object.__setattr__(self, "allowed_hosts", frozenset(name.lower() for name in self.allowed_hosts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is asking: an API key's tenant and role, by the key itself or by a browser session opened with it."""

    tenant_id: str
    key_id: str
    via: Literal["key", "session"]
    role: Role = "member"

    @property
    def actor(self) -> str:
        """The name under which the audit log knows the caller."""
        return f"key:{self.key_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What `build_app` was given, and the server's own state.

    ``seal``: None where there is no key, so that passwords are refused. ``also_ready``: what must answer besides queue
    and records before the server is ready, by its name.
    """

    records: Records
    blobs: BlobStore
    queue: TaskQueue
    access: Access
    limits: ServerLimits
    streams: StreamSlots
    seal: Seal | None = None
    also_ready: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


DEPS = web.AppKey("deps", Deps)
CALLER = web.RequestKey("caller", Caller)


def deps(request: web.Request) -> Deps:
    """The ports and limits this application was built with."""
    return request.app[DEPS]


def caller(request: web.Request) -> Caller:
    """Who is asking; a KeyError on a public route, which has no caller, is a programming error."""
    return request[CALLER]
