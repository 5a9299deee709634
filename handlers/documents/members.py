"""What a ZIP really holds, in sizes: virus scanners pass over members that are too large for them, and say nothing."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from jobqueue.errors import RejectedFile

MAX_MEMBERS: Final = 10_000
MAX_DEPTH: Final = 8
MAX_TIMES: Final = 4
"""All members together may be so many times the largest; ClamAV's own default is the same."""
_CHUNK_BYTES: Final = 1 << 18
_MARKS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_ENCRYPTED: Final = 0x1
# What zipfile and the decompressors below it raise for broken archives, and for methods that they don't know.
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, NotImplementedError, ValueError, OverflowError, OSError,
)  # fmt: skip


def check_members(path: str, *, max_member_bytes: int) -> None:
    """Read every member of a ZIP, and of the ZIPs in it, to its end; any other file passes.

    The sizes that an archive declares may be lies: a member is as long as what comes out of it, and a sum that differs
    from the declared one shows that something would be left unread.

    Raises:
        RejectedFile: a member is longer than ``max_member_bytes``, all of them are `MAX_TIMES` as long, there are too
            many or too deep ones, one can't be read to its end, or there is something in front of the archive, where
            neither a scanner nor a reader looks.
    """
    with Path(path).open("rb") as file:
        _Budget(largest=max_member_bytes, left=MAX_TIMES * max_member_bytes).check(file, depth=0)


@dataclass(slots=True, kw_only=True)
class _Budget:
    """What may still be read."""

    largest: int
    left: int
    members: int = MAX_MEMBERS

    def check(self, file: IO[bytes], *, depth: int) -> None:
        if file.read(4) not in _MARKS:
            return
        if depth == MAX_DEPTH:
            raise RejectedFile(f"it has archives in archives, more than {MAX_DEPTH} deep")
        try:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
                self._spend(members=len(infos))
                if min((info.header_offset for info in infos), default=0):
                    raise RejectedFile("there is hidden data in front of the archive in it")
                for info in infos:
                    self._check_member(archive, info, depth)
        except _BROKEN as exc:
            raise RejectedFile("the archive in it is damaged, or its sizes are lies") from exc

    def _check_member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, depth: int) -> None:
        if info.flag_bits & _ENCRYPTED:
            raise RejectedFile("a part of it is encrypted")
        if info.file_size > self.largest:
            raise RejectedFile(f"a part of it has {info.file_size:,} bytes, more than the {self.largest:,} scanned")
        with archive.open(info) as member:
            head = member.read(4)
            self._spend(size=len(head))
            if head not in _MARKS:
                for chunk in _chunks(member):
                    self._spend(size=len(chunk))
                return
            inner = io.BytesIO(head + member.read())  # as long as declared at most, which was compared above
        self._spend(size=info.file_size)
        self.check(inner, depth=depth + 1)

    def _spend(self, *, size: int = 0, members: int = 0) -> None:
        self.left -= size
        self.members -= members
        if self.left < 0 or self.members < 0:
            raise RejectedFile(f"it unpacks to more than {MAX_TIMES * self.largest:,} bytes or {MAX_MEMBERS:,} parts")


def _chunks(member: IO[bytes]) -> Iterator[bytes]:
    while chunk := member.read(_CHUNK_BYTES):
        yield chunk
