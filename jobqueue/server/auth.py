"""Who may do what: API keys for programs, sessions for the page, both bound to one tenant.

Every key may do everything within its tenant, and nothing outside it; an operator's key also what concerns all tenants
(`require_operator`). Secrets have 256 random bits and only their
SHA-256 is kept, so neither the database nor this process's memory holds one, and no slow hash is needed: there is no
dictionary to try. Looking a secret up by its hash leaks no timing that helps to guess it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from jobqueue.errors import Denied, InvalidInput
from jobqueue.job import new_id
from jobqueue.ports import ApiKeyRecord, AuditEntry, Records, Role
from jobqueue.server.context import CALLER, Caller, caller, deps
from jobqueue.server.guard import is_own_request
from jobqueue.server.problems import Forbidden

SESSION_COOKIE: Final = "jobqueue_session"
SESSION_TTL_S: Final = 12 * 3600
LOGIN_TTL_S: Final = 600

# Everything else needs a caller; a new route is closed until it is named here.
PUBLIC: Final = frozenset({"/", "/static/{name}", "/login", "/livez", "/readyz"})

_KEY: Final = re.compile(r"jq_[A-Za-z0-9_-]{43}")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # becomes the first segment of storage keys
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_MAX_TICKETS: Final = 10_000


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


async def mint_api_key(records: Records, tenant_id: str, name: str, role: Role = "member") -> str:
    """Make an API key for a tenant and return it; it can't be shown again.

    Args:
        records: where its hash is kept.
        tenant_id: 1–64 letters, digits, ``_`` and ``-``.
        name: what people call it, 1–100 characters.
        role: what it may do.

    Raises:
        InvalidInput: ``tenant_id`` or ``name`` is not as above.
    """
    if not _TENANT.fullmatch(tenant_id):
        raise InvalidInput("a tenant's id is 1-64 letters, digits, '_' and '-', and starts with a letter or digit")
    if not 1 <= len(name) <= 100 or not name.isprintable():  # noqa: PLR2004  # as documented above
        raise InvalidInput("an API key's name is 1-100 printable characters")
    key, key_id, now = f"jq_{secrets.token_urlsafe(32)}", new_id("key"), datetime.now(UTC)
    record = ApiKeyRecord(id=key_id, tenant_id=tenant_id, name=name, sha256=_sha256(key), created_at=now, role=role)
    entry = AuditEntry(
        tenant_id=tenant_id, actor="operator", action="api_key.mint", subject=key_id, at=now, detail={"role": role}
    )
    async with records.unit() as unit:
        await unit.add_api_key(record)
        await unit.audit(entry)
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ticket:
    caller: Caller
    expires_at: float


class _Tickets:
    """Secrets that stand for a caller for a while. One lifetime for all, so the oldest is the first to expire."""

    def __init__(self, ttl_s: float, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._by_hash: dict[str, _Ticket] = {}

    def issue(self, caller: Caller) -> str:
        now = self._clock()
        while self._by_hash:
            oldest = next(iter(self._by_hash))
            if self._by_hash[oldest].expires_at > now and len(self._by_hash) < _MAX_TICKETS:
                break
            del self._by_hash[oldest]
        secret = secrets.token_urlsafe(32)
        self._by_hash[_sha256(secret)] = _Ticket(caller=caller, expires_at=now + self._ttl_s)
        return secret

    def find(self, secret: str) -> Caller | None:
        return self._valid(self._by_hash.get(_sha256(secret)))

    def take(self, secret: str) -> Caller | None:
        return self._valid(self._by_hash.pop(_sha256(secret), None))

    def _valid(self, ticket: _Ticket | None) -> Caller | None:
        return ticket.caller if ticket and self._clock() < ticket.expires_at else None


class Access:
    """Tells who is asking.

    Sessions and login tokens live in this object alone: a restart asks people to log in again.

    Args:
        records: where API keys are found.
        clock: seconds, monotonic.
    """

    def __init__(self, records: Records, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._logins = _Tickets(LOGIN_TTL_S, clock)
        self._sessions = _Tickets(SESSION_TTL_S, clock)

    async def by_key(self, key: str) -> Caller:
        """The caller behind an API key.

        Raises:
            Denied: there is no such key, or it was revoked; the message doesn't say which.
            Unavailable: the database can't be asked.
        """
        if _KEY.fullmatch(key):  # hashing only what could be a key bounds the work
            async with self._records.unit() as unit:
                record = await unit.find_api_key(_sha256(key))
            if record is not None:
                return Caller(tenant_id=record.tenant_id, key_id=record.id, via="key", role=record.role)
        raise Denied("this API key is not valid: check it, or ask the operator for a new one")

    def by_session(self, secret: str) -> Caller:
        """The caller behind a session cookie.

        Raises:
            Denied: the session has ended.
        """
        caller = self._sessions.find(secret)
        if caller is None:
            raise Denied("your session has ended: open a new sign-in link")
        return caller

    def login_token(self, key_id: str, tenant_id: str, role: Role = "member") -> str:
        """A token that opens one session, once, within ten minutes: for a link ``/login?token=…``."""
        return self._logins.issue(Caller(tenant_id=tenant_id, key_id=key_id, via="session", role=role))

    def open_session(self, token: str) -> tuple[str, Caller]:
        """Trade a login token for a session; returns the cookie's value and whose it is.

        Raises:
            Denied: the token was used before, has expired, or never was one.
        """
        caller = self._logins.take(token)
        if caller is None:
            raise Denied("this sign-in link was used already or has expired: ask the operator for a new one")
        return self._sessions.issue(caller), caller


def require_operator(request: web.Request) -> Caller:
    """The caller, who must be an operator.

    Raises:
        Forbidden: it is a member; says what is needed.
    """
    who = caller(request)
    if who.role != "operator":
        raise Forbidden("this concerns the queues of all tenants: it takes the key of an operator, yours is a member's")
    return who


async def _identify(request: web.Request) -> Caller:
    access = deps(request).access
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer":
            raise Denied("authenticate with 'Authorization: Bearer jq_…'")
        return await access.by_key(bearer.strip())
    if (key := request.headers.get("X-API-Key")) is not None:
        return await access.by_key(key)
    if (secret := request.cookies.get(SESSION_COOKIE)) is not None:
        caller = access.by_session(secret)
        # A browser sends the cookie along whoever made it ask; only our own page may change things with it.
        if request.method not in _SAFE_METHODS and not is_own_request(request):
            raise Forbidden("a session may change things only from this server's own page: use an API key elsewhere")
        return caller
    raise Denied("authenticate with 'Authorization: Bearer jq_…', 'X-API-Key: jq_…', or open a sign-in link")


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who is asking, for every route that isn't public."""
    resource = request.match_info.route.resource
    # Without a resource the request is on its way to a 404 or 405: nothing is behind it.
    if resource is not None and resource.canonical not in PUBLIC:
        request[CALLER] = await _identify(request)
    return await handler(request)
