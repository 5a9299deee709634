"""A private clamd for the tests, with one signature, on a socket of its own; and the harmless file that it knows."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# In two halves, so that no scanner takes this file for what it makes.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
MAX_BYTES = 1 << 20
"""Its StreamMaxLength and MaxFileSize, unless it is told others."""
_START_S = 20.0


@contextmanager
def running_clamd(*, alerts: bool = True, tcp_port: int | None = None, limit_mib: int = 1) -> Iterator[str]:
    """A running server's URL; without clamd fails in CI, and skips elsewhere.

    Args:
        alerts: its option ``AlertExceedsMax``.
        tcp_port: listen there, instead of on a socket.
        limit_mib: its StreamMaxLength and MaxFileSize.
    """
    with tempfile.TemporaryDirectory(prefix="jobqueue-clamd-", dir="/tmp") as name:  # a socket's path must be short
        directory = Path(name)
        (directory / "db").mkdir()
        (directory / "db" / "local.ndb").write_text(f"Eicar.Test:0:*:{EICAR.hex()}\n")
        where = f"TCPAddr 127.0.0.1\nTCPSocket {tcp_port}" if tcp_port else f"LocalSocket {directory}/clamd.sock"
        (directory / "clamd.conf").write_text(
            f"Foreground yes\n{where}\nDatabaseDirectory {directory}/db\nTemporaryDirectory {directory}\n"
            f"AlertExceedsMax {'yes' if alerts else 'no'}\nStreamMaxLength {limit_mib}M\nMaxFileSize {limit_mib}M\n"
            f"MaxScanSize {4 * limit_mib}M\n"
        )
        url = f"tcp://127.0.0.1:{tcp_port}" if tcp_port else f"unix://{directory}/clamd.sock"
        with (directory / "log").open("w") as log:
            process = subprocess.Popen([_program(), "-c", str(directory / "clamd.conf")], stdout=log, stderr=log)
        with process:
            try:
                _wait_for(process, directory / "log")
                yield url
            finally:
                process.kill()


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP of these names and contents."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def word_with(data: bytes) -> bytes:
    """The outside of a DOCX with something embedded."""
    parts = (("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<document/>"))
    return zipped(*parts, ("word/embeddings/oleObject1.bin", data))


def _wait_for(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while "Self checking every" not in (said := log.read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.01)


def _program() -> str:
    found = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is not None:
        return found
    reason = "clamd (Debian: clamav-daemon) is needed for these tests"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
