"""Virus scanners: adapters of `jobqueue.ports.VirusScanner`."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from jobqueue.errors import LimitExceeded, RejectedFile, Unavailable
from jobqueue.ports import Limits, Sandbox, VirusScanner
from jobqueue.services.clamd import Clamd, Version
from jobqueue.tasks import Scan

Mode = Literal["off", "if_available", "required"]
"""``JOBQUEUE_VIRUS_SCAN``: never; where clamd answers; or every file, whose ingest is tried again without it."""

_MEMBERS: Final = "handlers.documents.members:check_members"
_MEMBER_LIMITS: Final = Limits(wall_s=60.0, cpu_s=60)
_FOUND: Final = re.compile(r"stream: (.{1,500}) FOUND", re.DOTALL)
# What clamd reports of these is no malware, but that it couldn't look.
_LIMITS_PASSED: Final = "Heuristics.Limits."
_ENCRYPTED: Final = "Heuristics.Encrypted."


class NoScanner:
    """For machines without a scanner: says of every file that nobody looked."""

    mandatory: bool = False

    async def scan(self, path: Path) -> Scan:  # noqa: ARG002  # the port's signature
        """An ``unchecked`` one."""
        return _unchecked(None)

    async def check(self) -> None:
        """There is nothing that could be unwell."""


class ClamdScanner:
    """Scans by clamd, and never calls a file clean of which clamd has seen only a part.

    Args:
        clamd: the server.
        sandbox: where archives are measured.
        mandatory: whether no file goes on while clamd is away; else it does so unchecked.
        max_bytes: the lower one of the server's ``StreamMaxLength`` and ``MaxFileSize``. It can't be asked for them.
        max_age_days: the age of its signatures from which on it counts as unwell; 0: none is.
    """

    def __init__(
        self, clamd: Clamd, *, sandbox: Sandbox | None, mandatory: bool, max_bytes: int, max_age_days: int
    ) -> None:
        self.mandatory = mandatory
        self._clamd = clamd
        self._sandbox = sandbox
        self._max_bytes = max_bytes
        self._max_age_days = max_age_days

    async def scan(self, path: Path) -> Scan:
        """As the port says; a clamd that fails in the middle of a file is always `Unavailable`.

        Else a file that makes it crash would pass unchecked.
        """
        try:
            version = await self._clamd.version()
        except Unavailable as exc:
            if self.mandatory:
                raise
            return _unchecked(str(exc))
        size = (await asyncio.to_thread(path.stat)).st_size
        if size > self._max_bytes:
            why = (
                f"it has {size:,} bytes, more than the {self._max_bytes:,} that clamd takes (JOBQUEUE_CLAMD_MAX_BYTES)"
            )
            return _scan("unscannable", version, why)
        async with AsyncExitStack() as stack:
            file = stack.enter_context(await asyncio.to_thread(path.open, "rb"))
            answer = await self._clamd.scan(file)
        if answer == "stream: OK":
            return await self._seen_whole(path, version)
        return _judge(answer, version)

    async def check(self) -> None:
        """As the port says."""
        version = await self._clamd.version()
        if (unwell := version.outdated(now=datetime.now(UTC), max_age_days=self._max_age_days)) is not None:
            raise Unavailable(unwell)
        await self._require_alerts()

    async def _seen_whole(self, path: Path, version: Version) -> Scan:
        """The verdict on a file that clamd calls OK: it does so, too, of some that it hasn't seen all of."""
        try:
            await self._require_alerts()
        except Unavailable as exc:
            if self.mandatory:
                raise
            return _scan("unchecked", version, str(exc))
        assert self._sandbox is not None, "only the server's scanner has none, and it scans nothing"
        try:
            await self._sandbox.run(_MEMBERS, str(path), max_member_bytes=self._max_bytes, limits=_MEMBER_LIMITS)
        except (RejectedFile, LimitExceeded) as exc:
            return _scan("unscannable", version, str(exc))
        return _scan("clean", version, None)

    async def _require_alerts(self) -> None:
        # Asked anew for every file, for 2 ms: clamd may have been started again with another configuration.
        if not await self._clamd.tells_limits():
            raise Unavailable("clamd calls files OK that it hasn't looked at: put 'AlertExceedsMax yes' in clamd.conf")


def virus_scanner(
    mode: Mode, url: str, *, sandbox: Sandbox | None = None, max_bytes: int, max_age_days: int
) -> VirusScanner:
    """The scanner that the settings ask for; without a sandbox one that can only be checked.

    Raises:
        ConfigError: the URL is not one of clamd.
    """
    if mode == "off" or not url:
        return NoScanner()
    return ClamdScanner(
        Clamd(url), sandbox=sandbox, mandatory=mode == "required", max_bytes=max_bytes, max_age_days=max_age_days
    )


def _judge(answer: str, version: Version) -> Scan:
    """What an answer other than OK means.

    >>> version = Version.parse("ClamAV 1.4.6")
    >>> _judge("stream: Win.Test.EICAR_HDB-1 FOUND", version).verdict
    'infected'
    >>> _judge("stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND", version).verdict
    'unscannable'
    """
    found = _FOUND.fullmatch(answer)
    if found is not None and found[1].startswith(_LIMITS_PASSED):
        return _scan("unscannable", version, f"something in it is past clamd's limits ({found[1]})")
    if found is not None and found[1].startswith(_ENCRYPTED):
        return _scan("unscannable", version, f"something in it is encrypted ({found[1]})")
    if found is not None:
        return _scan("infected", version, found[1])
    if "size limit exceeded" in answer:
        return _scan("unscannable", version, "it is longer than clamd's StreamMaxLength")
    raise Unavailable(f"clamd could not scan the file: {answer[:200]}")


def _scan(verdict: Literal["clean", "infected", "unscannable", "unchecked"], version: Version, why: str | None) -> Scan:
    return Scan(
        verdict=verdict, engine=version.engine, signatures=version.signatures, finding=why, at=datetime.now(UTC)
    )


def _unchecked(why: str | None) -> Scan:
    return Scan(verdict="unchecked", engine="built-in", finding=why, at=datetime.now(UTC))
