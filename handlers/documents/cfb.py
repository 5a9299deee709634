"""Compound files (MS-CFB): the file system in a file that MSG mails and old Office documents are.

Written for hostile bytes: every chain of sectors is walked at most as far as the file has sectors, so one that runs in
a circle ends, and the directory is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jobqueue.errors import LimitExceeded, RejectedFile

MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MAX_ENTRIES: Final = 10_000
_END_OF_CHAIN: Final = 0xFFFFFFFE
_LAST_SECTOR: Final = 0xFFFFFFFA
_HEADER_BYTES: Final = 512
_ENTRY_BYTES: Final = 128
_HEADER_FAT_SECTORS: Final = 109
_STORAGE, _STREAM, _ROOT = 1, 2, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A stream, or a storage that holds others. ``path`` has ``/`` between names, without the root's."""

    path: str
    is_stream: bool
    start: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    name: str
    kind: int
    left: int
    right: int
    child: int
    start: int
    size_bytes: int


class CompoundFile:
    """An open compound file; ``data`` is the whole of it.

    Raises:
        RejectedFile: it is none, or is damaged.
        LimitExceeded: it has more than `MAX_ENTRIES` entries.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER_BYTES or not data.startswith(MAGIC):
            raise RejectedFile("it is no compound file")
        self._data = data
        shift, mini_shift = struct.unpack_from("<HH", data, 30)
        if (shift, mini_shift) not in ((9, 6), (12, 6)):
            raise RejectedFile("its header is damaged")
        self._sector_bytes, self._mini_bytes = 1 << shift, 1 << mini_shift
        self._sectors = len(data) // self._sector_bytes
        first_dir, _, self._mini_cutoff, first_mini = struct.unpack_from("<IIII", data, 48)
        self._fat = self._read_fat()
        nodes = self._read_nodes(self._chain(first_dir))
        self._mini_fat = _integers(self._chain(first_mini)) if first_mini < _LAST_SECTOR else ()
        self._mini_stream = self._chain(nodes[0].start) if nodes[0].start < _LAST_SECTOR else b""
        self.entries: dict[str, Entry] = {entry.path: entry for entry in _tree(nodes)}

    def read(self, path: str) -> bytes:
        """A stream's bytes; empty where there is none of that path."""
        entry = self.entries.get(path)
        if entry is None or not entry.is_stream or not entry.size_bytes:
            return b""
        if entry.size_bytes < self._mini_cutoff:
            return self._mini_chain(entry.start)[: entry.size_bytes]
        return self._chain(entry.start)[: entry.size_bytes]

    def _read_fat(self) -> tuple[int, ...]:
        numbers = list(struct.unpack_from(f"<{_HEADER_FAT_SECTORS}I", self._data, 76))
        (more,) = struct.unpack_from("<I", self._data, 68)
        for _ in range(self._sectors):  # the list of the table's own sectors goes on in a chain
            if more >= _LAST_SECTOR:
                break
            *part, more = _integers(self._sector(more))
            numbers += part
        used = [number for number in numbers if number < _LAST_SECTOR]
        if len(used) > self._sectors:
            raise RejectedFile("its table of sectors is damaged")
        return tuple(entry for number in used for entry in _integers(self._sector(number)))

    def _read_nodes(self, directory: bytes) -> list[_Node]:
        count = len(directory) // _ENTRY_BYTES
        if count > MAX_ENTRIES:
            raise LimitExceeded(f"it holds more than the {MAX_ENTRIES:,} entries allowed")
        nodes = []
        for offset in range(0, count * _ENTRY_BYTES, _ENTRY_BYTES):
            name_bytes, kind, _, left, right, child = struct.unpack_from("<HBBIII", directory, offset + 64)
            start, size = struct.unpack_from("<IQ", directory, offset + 116)
            name = directory[offset : offset + max(0, min(name_bytes, 64) - 2)].decode("utf-16-le", "replace")
            if self._sector_bytes == _HEADER_BYTES:
                size &= 0xFFFFFFFF  # the upper half is undefined in version 3
            nodes.append(_Node(name=name, kind=kind, left=left, right=right, child=child, start=start, size_bytes=size))
        if not nodes or nodes[0].kind != _ROOT:
            raise RejectedFile("its directory is damaged")
        return nodes

    def _sector(self, number: int) -> bytes:
        start = (number + 1) * self._sector_bytes
        if start >= len(self._data):
            raise RejectedFile("it is cut off")
        return self._data[start : start + self._sector_bytes]

    def _chain(self, start: int) -> bytes:
        return b"".join(self._sector(number) for number in _walk(start, self._fat, self._sectors))

    def _mini_chain(self, start: int) -> bytes:
        size, most = self._mini_bytes, len(self._mini_stream) // self._mini_bytes + 1
        return b"".join(
            self._mini_stream[number * size : (number + 1) * size] for number in _walk(start, self._mini_fat, most)
        )


def _walk(start: int, table: tuple[int, ...], most: int) -> Iterator[int]:
    number = start
    for _ in range(most + 1):
        if number == _END_OF_CHAIN:
            return
        if number >= len(table):
            raise RejectedFile("its chain of sectors is damaged")
        yield number
        number = table[number]
    raise RejectedFile("its chain of sectors runs in a circle")


def _tree(nodes: list[_Node]) -> Iterator[Entry]:
    """Every entry once, though the tree's links may run in circles."""
    seen = {0}
    waiting = [(nodes[0].child, "")]
    while waiting:
        number, folder = waiting.pop()
        if number >= len(nodes) or number in seen:
            continue
        seen.add(number)
        node = nodes[number]
        path = folder + node.name
        yield Entry(path=path, is_stream=node.kind == _STREAM, start=node.start, size_bytes=node.size_bytes)
        waiting += [(node.left, folder), (node.right, folder)]
        if node.kind == _STORAGE:
            waiting.append((node.child, path + "/"))


def _integers(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
