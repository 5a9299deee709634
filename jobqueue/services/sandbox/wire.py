"""What the processes of the sandbox say to each other. Nothing here is ever a pickle.

- Worker and child converse in frames: four bytes of length, then that much msgpack (`jobqueue.job.encode`).
- Worker and fork server exchange records of fixed size: an `ORDER` down, a `REPORT` up.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from typing import Any, Final

from jobqueue import job
from jobqueue.errors import UnreadablePayload

MAX_CALL_BYTES: Final = 64_000_000
MAX_ANSWER_BYTES: Final = 16_000_000
"""Files travel by path, so this is room for the text of the longest document.

An answer is decoded in one go, for which a hostile one (16 million empty lists) can take a second and a gigabyte; that
the worker must survive without losing a lease.
"""

ORDER: Final = struct.Struct("!cQQQ")  # SPAWN or KILL, the child's number, its memory and file limits in bytes
SPAWN: Final = b"S"  # the record carries two descriptors: conversation socket, stderr
KILL: Final = b"K"  # the limits are 0

REPORT: Final = struct.Struct("!Qi")  # a child's number and its wait status: it and its descendants are gone
READY: Final = 0  # the number in the fork server's first record, which has `confine`'s gaps for a status

_HEADER: Final = struct.Struct("!I")
_CHUNK_BYTES: Final = 1 << 18
_MAX_ERROR_BYTES: Final = 256_000  # a message and a traceback, both cut by the child, fit in


class BrokenFrame(Exception):
    """The other side sent something that is not one frame of allowed length."""


def frame(message: dict[str, Any], *, max_bytes: int) -> bytes:
    """The bytes that carry ``message``, which are at most ``max_bytes`` and four.

    Raises:
        InvalidInput: a value is not plain data.
        BrokenFrame: it is longer than that.
    """
    body = job.encode(message)
    if len(body) > max_bytes:
        raise BrokenFrame(f"{len(body):,} bytes, more than the {max_bytes:,} that fit")
    return _HEADER.pack(len(body)) + body


def receive(sock: socket.socket) -> dict[str, Any] | None:
    """The next frame of a blocking socket; None at its end. For the child, which trusts the worker."""
    header = _exactly(sock, _HEADER.size)
    body = _exactly(sock, _HEADER.unpack(header)[0]) if header else b""
    return job.decode(body) if body else None


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(min(size - len(data), _CHUNK_BYTES))
        if not chunk:
            return b""
        data += chunk
    return bytes(data)


async def exchange(sock: socket.socket, request: bytes) -> dict[str, Any]:
    """Send one frame over a non-blocking socket and return the message of the one frame that answers it.

    For the worker, which trusts nothing that comes back.

    Raises:
        BrokenFrame: too long, not a message, or followed by bytes nobody asked for.
        EOFError: the child closed its end, most likely by dying.
    """
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, request)
        data = bytearray()
        while len(data) < (wanted := _wanted(data)):
            chunk = await loop.sock_recv(sock, _CHUNK_BYTES)
            if not chunk:
                raise EOFError
            data += chunk
    except ConnectionError as exc:
        raise EOFError from exc
    if len(data) > wanted:
        raise BrokenFrame(f"{len(data) - wanted:,} bytes after its answer")
    try:
        reply = _decode(bytes(memoryview(data)[_HEADER.size :]))
    except UnreadablePayload as exc:
        raise BrokenFrame("an answer that is not in this project's codec") from exc
    if "value" not in reply and len(data) > _MAX_ERROR_BYTES:
        raise BrokenFrame(f"an error of {len(data):,} bytes")
    return reply


def silent(sock: socket.socket) -> bool:
    """Whether a non-blocking socket is open and nothing has come: what a child between two calls looks like.

    The kernel closes a dying process's socket before anybody is told of the death.
    """
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _wanted(data: bytearray) -> int:
    """How long the frame that begins so will be, as far as that is known."""
    if len(data) < _HEADER.size:
        return _HEADER.size
    (length,) = _HEADER.unpack_from(data)
    if length > MAX_ANSWER_BYTES:
        raise BrokenFrame(f"an answer of {length:,} bytes, more than the {MAX_ANSWER_BYTES:,} that fit")
    return _HEADER.size + int(length)


def _decode(body: bytes) -> dict[str, Any]:
    # Nothing made here can be garbage yet, and millions of new lists would set the collector off again and again, for
    # many times what the decoding itself takes.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return job.decode(body)
    finally:
        if collecting:
            gc.enable()
