"""A conversation with clamd, ClamAV's daemon, over its socket: one connection a command, as its manual recommends.

Source: clamd(8), "COMMANDS". What it leaves unsaid was found out by asking a real one, and stands where it counts.
"""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import unquote, urlsplit

from jobqueue.errors import ConfigError, Unavailable

CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
"""How long clamd may take to answer anything but a file."""
SCAN_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 18
_DEEPEST: Final = 101
"""One archive in another, so often: above the highest ``MaxRecursion`` that clamd takes."""
_VERSION: Final = re.compile(r"ClamAV ([^/]{1,40})(?:/(\d{1,9})/(.{1,40}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Which clamd it is, and how new what it knows is; None where it has no signatures of the ClamAV project.

    >>> Version.parse("ClamAV 1.4.6/27800/Tue Nov 24 08:24:51 2026").signatures
    '27800 of 2026-11-24'
    >>> Version.parse("ClamAV 1.4.6")
    Version(engine='ClamAV 1.4.6', signatures=None, released=None)
    """

    engine: str
    signatures: str | None
    released: datetime | None

    @classmethod
    def parse(cls, answer: str) -> Version:
        """Read the answer to ``VERSION``. Raises `Unavailable` when it is none."""
        found = _VERSION.fullmatch(answer)
        if found is None:
            raise Unavailable(f"what answers in clamd's place is something else: {answer[:80]!r}")
        engine, number, date = f"ClamAV {found[1]}", found[2], found[3]
        if number is None:
            return cls(engine=engine, signatures=None, released=None)
        try:
            released = datetime.strptime(date, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        except ValueError:
            raise Unavailable(f"clamd's signatures have a date that can't be read: {answer[:80]!r}") from None
        return cls(engine=engine, signatures=f"{number} of {released.date()}", released=released)

    def outdated(self, *, now: datetime, max_age_days: int) -> str | None:
        """What is wrong with the signatures' age, for people; with 0 days nothing ever is."""
        if not max_age_days:
            return None
        if self.released is None:
            return "clamd has no dated signatures: run freshclam, or set JOBQUEUE_CLAMD_MAX_AGE_DAYS=0"
        if (age := now - self.released) > timedelta(days=max_age_days):
            return f"clamd's signatures are {age.days} days old: run freshclam (JOBQUEUE_CLAMD_MAX_AGE_DAYS)"
        return None


class Clamd:
    """One server, by its address: ``unix:///run/clamav/clamd.ctl`` or ``tcp://host:3310``.

    Nothing is kept between commands, so there is nothing to close. Every command raises `Unavailable` when clamd
    can't be reached, breaks off or takes too long.

    Raises:
        ConfigError: an address of another form.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._path = unquote(parts.path) if parts.scheme == "unix" else ""
        try:
            self._host, self._port = parts.hostname or "", parts.port or 0
        except ValueError:
            self._host, self._port = "", 0
        is_socket = self._path.startswith("/") and not parts.netloc
        is_address = parts.scheme == "tcp" and self._host and self._port and parts.path in {"", "/"}
        if not (is_socket or is_address):
            raise ConfigError("JOBQUEUE_CLAMD_URL: write unix:///run/clamav/clamd.ctl or tcp://host:3310")

    async def version(self) -> Version:
        """Which clamd it is; it has answered a ``PING`` before."""
        if (answer := await self._ask(b"PING")) != "PONG":
            raise Unavailable(f"what answers at {self._url} isn't clamd: {answer[:80]!r}")
        return Version.parse(await self._ask(b"VERSION"))

    async def tells_limits(self) -> bool:
        """Whether clamd says so when it has not looked at all of a file (its option ``AlertExceedsMax``).

        Without the option it calls such a file OK. It can't be asked for its options, so it is shown an archive that
        is nested too deeply for any configuration.
        """
        with io.BytesIO(_nested()) as probe:
            return "Heuristics.Limits." in await self.scan(probe, within_s=ANSWER_S)

    async def scan(self, file: io.BufferedIOBase, *, within_s: float = SCAN_S) -> str:
        """Send a file, a piece at a time; clamd's answer about it: ``stream: OK``, ``stream: NAME FOUND`` or an error.

        A file longer than its ``StreamMaxLength`` breaks the connection: compare the size first.
        """
        return await self._ask(b"INSTREAM", file, within_s=within_s)

    async def _ask(self, command: bytes, file: io.BufferedIOBase | None = None, *, within_s: float = ANSWER_S) -> str:
        try:
            async with self._connected() as (reader, writer), asyncio.timeout(within_s):
                writer.write(b"z%s\0" % command)
                if file is not None:
                    async for chunk in _chunks(file):
                        writer.write(len(chunk).to_bytes(4, "big") + chunk)
                        await writer.drain()
                    writer.write(bytes(4))
                return (await reader.readuntil(b"\0"))[:-1].decode(errors="replace")
        except TimeoutError:
            raise Unavailable(f"clamd at {self._url} gave no answer within {within_s:g} s") from None
        except (OSError, EOFError, asyncio.LimitOverrunError) as exc:
            doubt = "; is its StreamMaxLength below JOBQUEUE_CLAMD_MAX_BYTES?" if file is not None else ""
            raise Unavailable(f"clamd at {self._url} broke off without an answer{doubt}") from exc

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            async with asyncio.timeout(CONNECT_S):
                if self._path:
                    reader, writer = await asyncio.open_unix_connection(self._path)
                else:
                    reader, writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as exc:
            reason = getattr(exc, "strerror", None) or type(exc).__name__
            raise Unavailable(f"clamd can't be reached at {self._url} ({reason}): see JOBQUEUE_CLAMD_URL") from exc
        try:
            yield reader, writer
        finally:
            writer.transport.abort()  # closing would wait until clamd has taken what is still to be sent


async def _chunks(file: io.BufferedIOBase) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield chunk


def _nested() -> bytes:
    data = b"the end"
    for _ in range(_DEEPEST):
        with io.BytesIO() as out:
            with zipfile.ZipFile(out, "w") as archive:
                archive.writestr(zipfile.ZipInfo("a.zip"), data)
            data = out.getvalue()
    return data
