"""What arq's tests are run in: their source distribution, the packages they want, and a Redis server."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from jobqueue.broker.embedded import find_server

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
CACHE: Final = ROOT / ".compat"
PACKAGES: Final = CACHE / "packages"

_START_S: Final = 10.0


class Unprepared(Exception):
    """arq's tests can't be run; says what to do."""


def prepare() -> Path:
    """Fetch what is missing into the cache; the path of the verified source distribution.

    Raises:
        Unprepared: it can't be fetched, or isn't the pinned one.
    """
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    version, sha256 = pinned()
    archive = CACHE / f"arq-{version}.tar.gz"
    if not archive.exists():
        # arq alone is fetched as source; pip asks its build backend, which the project's environment has, for metadata.
        _pip(
            "download", "--no-deps", "--no-binary", "arq", "--no-build-isolation", "--require-hashes",
            "--dest", str(CACHE), "--requirement", str(HERE / "sdist.txt"),
        )  # fmt: skip
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        raise Unprepared(f"{archive} is not the file that {HERE / 'sdist.txt'} pins: delete it and run this again")
    _install_packages()
    return archive


def pinned() -> tuple[str, str]:
    """The version and SHA-256 of the source distribution.

    Raises:
        Unprepared: requirements.lock has moved on to another version.
    """
    pin = re.search(r"(?m)^arq==(\S+) --hash=sha256:([0-9a-f]{64})$", (HERE / "sdist.txt").read_text("utf-8"))
    locked = re.search(r"(?m)^arq==([^\s;]+)", (ROOT / "requirements.lock").read_text("utf-8"))
    if not pin or not locked or pin[1] != locked[1]:
        raise Unprepared(
            f"requirements.lock has arq {locked[1] if locked else '(none)'}, but tests/compat/sdist.txt pins the tests "
            f"of {pin[1] if pin else '(none)'}: put that version and its source distribution's SHA-256 there"
        )
    return pin[1], pin[2]


def _install_packages() -> None:
    wanted = (HERE / "requirements.txt").read_text("utf-8") + f"# for {sys.version}\n"
    done = PACKAGES / "ingredients"
    if done.exists() and done.read_text("utf-8") == wanted:
        return
    shutil.rmtree(PACKAGES, ignore_errors=True)  # pip leaves the old version's metadata beside the new one's
    _pip("install", "--no-deps", "--target", str(PACKAGES), "--requirement", str(HERE / "requirements.txt"))
    done.write_text(wanted, encoding="utf-8")


def _pip(*arguments: str) -> None:
    pip = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:  # uv made this environment
        pip = ["uvx", "--python", sys.executable, "--with", "hatchling", "pip"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", "--no-input", "-q", *arguments],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise Unprepared(f"pip {arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def unpack(archive: Path, directory: Path) -> Path:
    """The tests and their configuration, without arq itself: the one that is installed is the one under test."""
    with tarfile.open(archive) as tar:
        # Python before 3.11.4 has no filters; the archive's hash has been checked.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        top = archive.name.removesuffix(".tar.gz")
        members = [m for m in tar.getmembers() if re.match(rf"{re.escape(top)}/(tests/|pyproject\.toml$)", m.name)]
        tar.extractall(directory, members)
    return directory / top


@contextmanager
def redis_server(directory: Path) -> Iterator[int]:
    """A server without a password, since arq's tests give none, on a free port of 127.0.0.1; gives the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    directory.mkdir()
    server = subprocess.Popen(
        [
            find_server(), "--port", str(port), "--bind", "127.0.0.1", "--protected-mode", "yes",
            "--dir", directory, "--save", "", "--appendonly", "no",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await_pong(server, port)
        yield port
    finally:
        server.kill()
        server.wait()


def _await_pong(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_S
    with Redis(port=port) as redis:
        while server.poll() is None and time.monotonic() < deadline:
            try:
                # Another program may have taken the port: only our own child counts.
                if redis.info("server")["process_id"] == server.pid:
                    return
            except RedisConnectionError:
                time.sleep(0.02)
    raise Unprepared(f"the Redis server did not come up on port {port}: run this again")
