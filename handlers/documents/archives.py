"""ZIP archives within limits: what DOCX files are, and what several documents are sent in.

A member's declared size is checked before a byte of it is read, and the real one while it is. Members that share bytes,
of which small bombs are built, are refused.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jobqueue.errors import LimitExceeded, RejectedFile

MAGIC: Final = b"PK\x03\x04"
MAX_MEMBERS: Final = 2_000
MAX_MEMBER_BYTES: Final = 100_000_000
MAX_TOTAL_BYTES: Final = 300_000_000
MAX_RATIO: Final = 200
"""Of a member's size to its packed size, above `SMALL_BYTES`: text of one letter reaches 1,000, documents about 20."""
SMALL_BYTES: Final = 5_000_000

_END: Final = struct.Struct("<4s4H2LH")
_END_MAGIC: Final = b"PK\x05\x06"
_MAX_DIRECTORY_BYTES: Final = 2_000_000
_LOCAL_HEADER_BYTES: Final = 30
_ENCRYPTED: Final = 0x1
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def directory_bytes(path: Path) -> int | None:
    """The size of an archive's directory when this file ends as one, whatever it begins with; else None.

    The end record must reach to the file's end, so that an archive stored inside of another file is none.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - _END.size))
        tail = file.read()
    at = tail.rfind(_END_MAGIC)
    while at >= 0:
        if at + _END.size <= len(tail):
            fields = _END.unpack_from(tail, at)
            if at + _END.size + int(fields[7]) == len(tail):
                return int(fields[5])
        at = tail.rfind(_END_MAGIC, 0, at)
    return None


@contextmanager
def open_archive(path: Path, *, name: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members keep within the limits; ``name`` is for messages.

    Raises:
        RejectedFile: damaged, more than an archive, protected by a password, packed in an unusual way, or with members
            that share bytes.
        LimitExceeded: too many members, or too large ones.
    """
    directory = directory_bytes(path)
    if directory is None:
        raise RejectedFile(f"{name} is cut off, or has something after its end: pack it again and upload that")
    if directory > _MAX_DIRECTORY_BYTES:
        raise LimitExceeded(f"{name} holds more than the {MAX_MEMBERS:,} members allowed: send it in parts")
    with _reading(name), zipfile.ZipFile(path) as archive:
        _check(archive.infolist(), name)
        yield archive


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, name: str, max_bytes: int) -> bytes:
    """A member's bytes.

    Raises:
        LimitExceeded: more than ``max_bytes``.
        RejectedFile: it is damaged.
    """
    if info.file_size > max_bytes:
        raise _too_large(name, max_bytes)
    with _reading(name), archive.open(info) as member:
        data = member.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _too_large(name, max_bytes)
    return data


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        struct.error,
        ValueError,
        LookupError,
        OSError,
    ) as exc:
        # What zipfile raises for malformed archives, and for methods of compression that it doesn't know.
        raise RejectedFile(
            f"{name} is a damaged archive ({type(exc).__name__}): pack it again and upload that"
        ) from exc


def _check(members: list[zipfile.ZipInfo], name: str) -> None:
    if len(members) > MAX_MEMBERS:
        raise LimitExceeded(f"{name} holds more than the {MAX_MEMBERS:,} members allowed: send it in parts")
    for info in members:
        if info.flag_bits & _ENCRYPTED:
            raise RejectedFile(f"{name} is protected by a password: remove the password and upload it again")
        if info.compress_type not in _METHODS:
            raise RejectedFile(f"{name} is packed by an unusual method: pack it as an ordinary ZIP and upload that")
        if info.file_size > MAX_MEMBER_BYTES:
            raise _too_large(name, MAX_MEMBER_BYTES)
        if info.file_size > max(SMALL_BYTES, MAX_RATIO * info.compress_size):
            raise LimitExceeded(f"{name} unpacks to more than {MAX_RATIO} times its size, as bombs do: send the files")
    if sum(info.file_size for info in members) > MAX_TOTAL_BYTES:
        raise LimitExceeded(f"{name} unpacks to more than {MAX_TOTAL_BYTES:,} bytes: send it in parts")
    end = 0
    for info in sorted(members, key=lambda member: member.header_offset):
        if info.header_offset < end:
            raise RejectedFile(f"{name} has members that share bytes, as bombs do: send the files themselves")
        end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size


def _too_large(name: str, max_bytes: int) -> LimitExceeded:
    return LimitExceeded(f"{name} holds a file of more than the {max_bytes:,} bytes allowed: send it in parts")
