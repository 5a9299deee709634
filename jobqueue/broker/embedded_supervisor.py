"""The embedded server's supervisor: starts the server, watches over its parent, cleans up after both.

`jobqueue.broker.embedded` runs this file in an interpreter of its own (``-I``: standard library only), because a parent
that is killed can't stop anything any more. The supervisor owns everything that must go again: the lock, the socket,
the server and ``endpoint.json``. It answers its parent with one line of JSON, then stops the server when

- its standard input ends, which happens however the parent dies,
- its parent is another process than before (a fork of the parent may hold the pipe open), or
- it gets SIGTERM.

Should the supervisor itself be killed, Linux terminates the server (``PR_SET_PDEATHSIG``); elsewhere the server keeps
the lock that it inherited, so a second server never opens the same files.

The address outlives the server: a data directory always has the same socket and the same password, so whoever was
connected before a crash finds the next server by connecting again.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import secrets
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ANSWER_S = 10.0
"""How long a new server may stay silent."""
LOAD_S = 600.0
"""How long it may answer that it is still loading its file."""
STOP_S = 10.0
"""How long it may take to stop before it is killed."""

_TICK_S = 0.5
_LOG_BYTES = 10_000_000
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Refused(Exception):
    """Starting failed; ``kind`` names the class of `jobqueue.errors` that the parent raises."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Request:
    """What the parent asks for; ``port`` 0 means: no TCP; ``fsync`` is ``always`` or ``everysec``."""

    server: str
    directory: Path
    socket: Path
    port: int
    parent: int
    fsync: str

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.directory / "server.log"

    @property
    def endpoint(self) -> Path:
        """The file that tells other processes of this user where the server is."""
        return self.directory / "endpoint.json"

    @property
    def password(self) -> Path:
        """The file that keeps the password from one server to the next."""
        return self.directory / "password"


def run(request: Request) -> None:
    """Start the server, tell the parent, and hold it until the parent is gone."""
    request.directory.mkdir(parents=True, exist_ok=True)
    request.directory.chmod(0o700)
    with _locked(request) as lock:
        _sweep(request)
        password = _password(request.password)
        with _free_socket(request.socket), _server(request, configuration(request, password), lock) as server:
            _await_pong(request, server, password)
            endpoint = {"socket": str(request.socket), "password": password, "port": request.port, "pid": server.pid}
            with _published(request.endpoint, endpoint):
                _say({"ready": True})
                _watch(request, server)


def configuration(request: Request, password: str) -> str:
    """The server's configuration, one directive a line."""
    directives = {
        "port": str(request.port),
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "unixsocket": str(request.socket),
        "unixsocketperm": "600",
        "requirepass": password,
        "dir": str(request.directory),
        "appendonly": "yes",
        "appendfsync": request.fsync,
        "aof-load-truncated": "yes",
        # A preamble in the server's own dump format ties the file to one product: Redis 7 can't read Valkey 9's.
        "aof-use-rdb-preamble": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "always-show-logo": "no",
    }
    return "".join(f"{name} {_quoted(value)}\n" for name, value in directives.items())


def _quoted(value: str) -> str:
    r"""A configuration argument in the server's own quoting, which knows ``\xHH`` for every byte."""
    plain = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 /._-+:@")
    return '"' + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(value)) + '"'


@contextmanager
def _locked(request: Request) -> Iterator[int]:
    """Hold the data directory; the lock lives as long as this process or the server that inherits it."""
    lock = os.open(request.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + STOP_S + 1
    while not _try_lock(lock):
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        # A holder that was killed leaves a supervisor that is about to let go; a living one won't.
        if _lives(holder) or time.monotonic() > deadline:
            os.close(lock)
            raise Refused(
                "Conflict",
                f"the data directory {request.directory.parent} is in use by process {holder}: stop that one, or set "
                "JOBQUEUE_DATA_DIR to another directory",
            )
        time.sleep(0.05)
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{request.parent}\n".encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    except PermissionError:
        pass
    return True


def _sweep(request: Request) -> None:
    """Withdraw the address that a killed supervisor left behind, and set a log aside that has grown long."""
    request.endpoint.unlink(missing_ok=True)
    if request.log.exists() and request.log.stat().st_size > _LOG_BYTES:
        request.log.replace(request.log.with_suffix(".log.1"))


def _password(path: Path) -> str:
    """The data directory's password, made at its first start."""
    with suppress(FileNotFoundError, UnicodeDecodeError):
        kept = path.read_text(encoding="ascii").strip()
        if re.fullmatch(r"[\w-]{43}", kept):  # anything else was cut short or never ours
            return kept
    password = secrets.token_urlsafe(32)
    _write(path, password)
    return password


@contextmanager
def _free_socket(path: Path) -> Iterator[None]:
    """A directory for the socket inside one that is this user's alone; it goes with the server.

    The outer one stays: were it gone between two servers, anybody could take its name and wait there for clients
    that connect again and tell the password.
    """
    _own(path.parent.parent)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # the lock is held, so this one's server was killed
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # a cleaner of temporary files may have come first
            path.parent.rmdir()


def _own(directory: Path) -> None:
    """Make the directory, or make sure that nobody else can reach into it; its name is there for anybody to take."""
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode):
        fault = "is a symbolic link" if stat.S_ISLNK(status.st_mode) else "is no directory"
    elif status.st_uid != os.geteuid():
        fault = f"belongs to another user (uid {status.st_uid})"
    elif status.st_mode & 0o077:
        fault = f"is open to other users (mode {stat.S_IMODE(status.st_mode):04o})"
    else:
        return
    raise Refused(
        "ConfigError", f"the embedded server's socket belongs in {directory}, which {fault}: remove it, or set TMPDIR"
    )


@contextmanager
def _server(request: Request, config: str, lock: int) -> Iterator[subprocess.Popen[bytes]]:
    """The running server. It reads its configuration from a pipe: the password is on no command line."""
    with request.log.open("ab") as log:
        server = subprocess.Popen(  # noqa: S603 (the parent found this very program)
            [request.server, "-"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=request.directory,
            pass_fds=(lock,),
            start_new_session=True,
            preexec_fn=_die_with_the_supervisor,  # noqa: PLW1509 (this process has one thread)
        )
    try:
        assert server.stdin is not None
        with suppress(BrokenPipeError), server.stdin:  # a server that is gone already is reported with its log
            server.stdin.write(config.encode("ascii"))
        yield server
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _die_with_the_supervisor() -> None:
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _await_pong(request: Request, server: subprocess.Popen[bytes], password: str) -> None:
    """Wait until the server answers; one that is busy loading a large file gets the time for it."""
    started = heard = time.monotonic()
    while True:
        answer = _ping(request.socket, password)
        if answer.startswith(b"+PONG"):
            return
        now = time.monotonic()
        if answer.startswith(b"-LOADING"):
            heard = now
        if server.poll() is not None:
            raise Refused("Unavailable", f"the embedded server stopped while starting. {_tail(request.log)}")
        if now - heard > ANSWER_S or now - started > LOAD_S:
            raise Refused(
                "Unavailable",
                f"the embedded server is not ready {now - started:.0f} s after its start. {_tail(request.log)}",
            )
        if _parent_is_gone(request, wait_s=0.02):
            sys.exit(0)


def _ping(path: Path, password: str) -> bytes:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        with connection.makefile("rb") as answers:
            answers.readline(1024)
            return answers.readline(1024)
    return b""


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2_000))
        lines = file.read().decode("utf-8", "replace").splitlines()[-8:]
    return f"The end of its log, {log}:\n" + "\n".join(lines)


@contextmanager
def _published(path: Path, endpoint: dict[str, object]) -> Iterator[None]:
    _write(path, json.dumps(endpoint))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the server stops, so that nobody is sent to a dying one


def _write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, readable by this user alone (the umask sees to that)."""
    draft = path.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _watch(request: Request, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None and not _parent_is_gone(request, wait_s=_TICK_S):
        pass


def _parent_is_gone(request: Request, *, wait_s: float) -> bool:
    """Whether the parent closed its end of the pipe or died; waits up to ``wait_s`` for it."""
    readable, _, _ = select.select([sys.stdin.fileno()], [], [], wait_s)
    return bool(readable) or os.getppid() != request.parent


def _say(answer: dict[str, object]) -> None:
    with suppress(BrokenPipeError):  # a parent that died meanwhile is noticed by the watch
        print(json.dumps(answer), flush=True)  # noqa: T201 (the parent reads this line)


def main(*arguments: str) -> None:
    """Run the supervisor; an error is told to the parent."""
    server, directory, path, port, parent, fsync = arguments
    request = Request(server, Path(directory), Path(path), int(port), int(parent), fsync)
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops the server last
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        run(request)
    except Refused as exc:
        _say({"error": exc.kind, "message": str(exc)})
    except OSError as exc:
        _say({"error": "ConfigError", "message": f"the embedded server can't be started in {directory}: {exc}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
