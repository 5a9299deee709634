"""Files inside of a file: members of a ZIP, attachments of a mail. Each becomes a file of its own.

Archives in an archive are unpacked with it, so that one budget of files and bytes holds for all of them.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from handlers.documents import mail
from handlers.documents.archives import MAGIC, open_archive, read_member
from handlers.documents.cleaning import shown_name
from handlers.documents.office_text import EML, MSG, ZIP
from jobqueue.errors import LimitExceeded, RejectedFile

MAX_CHILDREN: Final = 200
MAX_BYTES: Final = 300_000_000
MAX_NESTING: Final = 3
_CONTENT_TYPES: Final = "[Content_Types].xml"
_JUNK: Final = frozenset((".ds_store", "thumbs.db", "desktop.ini"))
_SMALL_PICTURE_BYTES: Final = 20_000
"""Pictures in a mail up to this size are logos of signatures."""
_PICTURES: Final = (".png", ".gif", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A file inside; ``name`` is its base name, made safe."""

    name: str
    data: bytes


@dataclass(slots=True)
class _Budget:
    max_bytes: int
    name: str
    children: int = 0
    bytes_left: int = field(default=MAX_BYTES)

    def take(self, size_bytes: int) -> None:
        self.children += 1
        self.bytes_left -= size_bytes
        if self.children > MAX_CHILDREN:
            raise LimitExceeded(f"{self.name} holds more than the {MAX_CHILDREN} files allowed: send it in parts")
        if self.bytes_left < 0:
            raise LimitExceeded(f"{self.name} unpacks to more than {MAX_BYTES:,} bytes: send it in parts")


def children_of(path: Path, mime_type: str, *, name: str, max_bytes: int) -> Iterator[Child]:
    """The files inside of a ZIP or a mail, in order; none in other types. Empty ones and systems' own are left out.

    Args:
        path: the file on this machine.
        mime_type: its type as `inspect` found it.
        name: for messages.
        max_bytes: of one child.

    Raises:
        LimitExceeded: too many, too large, or nested deeper than `MAX_NESTING`.
        RejectedFile: damaged, or protected by a password.
    """
    budget = _Budget(max_bytes, name)
    if mime_type == ZIP:
        yield from _members(path, budget, 1)
    elif mime_type in {EML, MSG}:
        read = mail.read_eml if mime_type == EML else mail.read_msg
        for attachment in read(path.read_bytes()).attachments:
            child = Child(name=shown_name(attachment.name), data=attachment.data)
            if child.data and not _logo(child):
                budget.take(len(child.data))
                if len(child.data) > max_bytes:
                    raise LimitExceeded(f"{name} holds a file of more than the {max_bytes:,} bytes allowed")
                yield child


def unpack(path: str, mime_type: str, file_name: str, folder: str, *, max_bytes: int) -> list[dict[str, str]]:
    """Write the files inside of a file into ``folder``, as ``0``, ``1`` …; the ``name`` and ``path`` of each.

    Raises as `children_of`.
    """
    written = []
    children = children_of(Path(path), mime_type, name=shown_name(file_name), max_bytes=max_bytes)
    for number, child in enumerate(children):
        target = Path(folder, str(number))
        target.write_bytes(child.data)
        written.append({"name": child.name, "path": str(target)})
    return written


def _members(path: Path, budget: _Budget, depth: int) -> Iterator[Child]:
    if depth > MAX_NESTING:
        raise LimitExceeded(f"{budget.name} has archives nested more than {MAX_NESTING} deep: send the files alone")
    with open_archive(path, name=budget.name) as archive:
        for info in archive.infolist():
            if not info.file_size or not info.filename.strip("/") or _junk(info.filename):
                continue
            budget.take(info.file_size)
            data = read_member(archive, info, name=budget.name, max_bytes=budget.max_bytes)
            if data.startswith(MAGIC) and (inner := _archive_in(data)):
                with inner:
                    yield from _members(Path(inner.name), budget, depth + 1)
            else:
                yield Child(name=shown_name(PurePosixPath(info.filename.replace("\\", "/")).name), data=data)


def _archive_in(data: bytes) -> tempfile._TemporaryFileWrapper[bytes] | None:
    """The archive as a file to open, unless it is an Office file, or none that can be read: that is told of later."""
    inner = tempfile.NamedTemporaryFile()  # noqa: SIM115  # handed on to whoever closes it
    inner.write(data)
    inner.flush()
    try:
        with zipfile.ZipFile(inner.name) as archive:
            office = _CONTENT_TYPES in archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        office = True
    if office:
        inner.close()
        return None
    return inner


def listing(path: Path) -> str:
    """What stands for an archive's text: the names of the files in it.

    Raises as `children_of`.
    """
    names = [child.name for child in children_of(path, ZIP, name="it", max_bytes=MAX_BYTES)]
    if not names:
        raise RejectedFile("it is an archive without files")
    return "\n".join([f"Archive of {len(names)} files, each read as a document of its own:", *names])


def _junk(member: str) -> bool:
    parts = member.replace("\\", "/").lower().split("/")
    return parts[0] == "__macosx" or parts[-1] in _JUNK or parts[-1].startswith("._")


def _logo(child: Child) -> bool:
    return len(child.data) <= _SMALL_PICTURE_BYTES and child.name.lower().endswith(_PICTURES)
