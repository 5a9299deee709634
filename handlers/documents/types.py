"""What type a file is, by its bytes and against an allow list. Names are only compared with what was found.

A file is what its first bytes say. One that other programs would take for something else as well (a polyglot) is
refused: a check of the one would say nothing about the other.
"""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePath
from typing import Final

from handlers.documents import archives, cfb, mail, plain, rtf
from handlers.documents.office_text import DOCX, EML, MSG, RTF, ZIP
from jobqueue.errors import JobqueueError, LimitExceeded, RejectedFile

PDF: Final = "application/pdf"
TEXT: Final = "text/plain"

# The allow list: each type with its usual extension first.
EXTENSIONS: Final = {
    PDF: (".pdf",),
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/tiff": (".tif", ".tiff"),
    "image/webp": (".webp",),
    "image/heic": (".heic", ".heif"),
    DOCX: (".docx", ".dotx"),
    RTF: (".rtf",),
    EML: (".eml",),
    MSG: (".msg",),
    TEXT: (".txt", ".text"),
    ZIP: (".zip",),
}
ACCEPTED: Final = "PDF, DOCX, RTF, PNG, JPEG, TIFF, WebP, HEIC, EML, MSG, plain text, and ZIP files of these"
HEAD_BYTES: Final = 65_536
TAIL_BYTES: Final = 4_096
_PDF_REACH: Final = 1_024  # readers look for the header so far into a file
_PDF_HEADER: Final = re.compile(rb"(?:^|[\r\n])[ \t]*%PDF-\d")
_PDF_END: Final = re.compile(rb"startxref\s+\d+\s+%%EOF\s*\Z")
# Markup is text, but not text to read.
_MARKUP: Final = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<script": "a web page",
    b"<?xml": "an XML file",
    b"<svg": "an SVG drawing",
    b"%!ps": "a PostScript file",
    b"#!": "a script",
    b"{\\rt": "a malformed RTF document",  # which Word opens all the same
}
_COMPOUND: Final = {
    "EncryptedPackage": "protected by a password: remove the password and upload it again",
    "WordDocument": "an old Word document (.doc): save it as DOCX or PDF and upload that",
    "Workbook": "an old Excel workbook: save it as a PDF and upload that",
    "Book": "an old Excel workbook: save it as a PDF and upload that",
    "PowerPoint Document": "an old PowerPoint presentation: save it as a PDF and upload that",
}
_EMPTY_ARCHIVE: Final = b"PK\x05\x06"
_CONTENT_TYPES: Final = "[Content_Types].xml"
_MAX_CONTENT_TYPES_BYTES: Final = 1_000_000
_WORD_MAIN: Final = re.compile(
    rb"(?:wordprocessingml|ms-word)\.(?:document|template)(?:\.macroEnabled(?:Template)?)?\.main\+xml"
)
_OTHER_MAIN: Final = {
    b"spreadsheetml": "an Excel workbook",
    b"ms-excel": "an Excel workbook",
    b"presentationml": "a PowerPoint presentation",
    b"ms-powerpoint": "a PowerPoint presentation",
}


def type_of(path: Path, name: str) -> str:
    """The file's type, one of `EXTENSIONS`; ``name`` is for messages.

    Raises:
        RejectedFile: not an accepted type, several at once, protected by a password, or damaged.
        LimitExceeded: an archive over the limits.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        tail = file.read()
    found = _by_signature(path, head, name)
    if other := _also(path, found, head, tail):
        raise RejectedFile(
            f"{name} is {_shown(found)} and {other} in one, as disguised files are: save it again from the original "
            "and upload that"
        )
    return found


def mismatch(name: str, mime_type: str) -> str | None:
    """What to tell of a name whose extension belongs to another type; None where it fits.

    Raises:
        RejectedFile: plain text under the name of a PDF or a picture, which is a broken download.
    """
    extension = PurePath(name).suffix.lower()
    if not extension or extension in EXTENSIONS[mime_type]:
        return None
    claimed = next((kind for kind, names in EXTENSIONS.items() if extension in names), None)
    if mime_type == TEXT and claimed and claimed not in {EML, RTF}:
        raise RejectedFile(f"{name} is not a {extension[1:].upper()} file but plain text: export it again")
    return f"The name ends in {extension}, but the content is {mime_type}."


def _by_signature(path: Path, head: bytes, name: str) -> str:
    import filetype

    if head.startswith((archives.MAGIC, _EMPTY_ARCHIVE)):
        return _package(path, name)
    if head.startswith(cfb.MAGIC):
        return _compound(path, name)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(rtf.MAGIC):
        return RTF
    guess = filetype.guess_mime(head[:8_192])
    if guess in EXTENSIONS and guess not in {PDF, RTF, ZIP}:
        return str(guess)
    markup = next((kind for mark, kind in _MARKUP.items() if start[:64].lower().startswith(mark)), None)
    if _PDF_HEADER.search(head[:_PDF_REACH]):  # it may stand below other lines, as in every common reader
        other = markup or (f"of type {guess}" if guess not in {None, PDF} else None)
        if other:
            raise RejectedFile(f"{name} is {other} with a PDF behind it, as disguised files are: export it again")
        return PDF
    if guess is None and markup is None and plain.decode(path.read_bytes()) is not None:
        return EML if mail.is_eml(head) else TEXT
    if guess is None and mail.is_eml(head):  # 8-bit bodies are in any encoding
        return EML
    kind = markup or (f"of type {guess}" if guess else "of an unknown type")
    raise RejectedFile(f"{name} is {kind}; accepted are {ACCEPTED}: save it as a PDF and upload that")


def _also(path: Path, found: str, head: bytes, tail: bytes) -> str | None:
    """What else than ``found`` other programs would take the file for."""
    if found not in {ZIP, DOCX} and archives.directory_bytes(path) is not None:
        return "a ZIP archive"
    if found not in {PDF, TEXT, EML, ZIP} and (_PDF_HEADER.search(head[:_PDF_REACH]) or _PDF_END.search(tail)):
        return "a PDF"
    return None


def _package(path: Path, name: str) -> str:
    with archives.open_archive(path, name=name) as archive:
        try:
            info = archive.getinfo(_CONTENT_TYPES)
        except KeyError:
            return ZIP
        types = archives.read_member(archive, info, name=name, max_bytes=_MAX_CONTENT_TYPES_BYTES)
        if _WORD_MAIN.search(types) and _has(archive, "word/document.xml"):
            return DOCX
    other = next((kind for mark, kind in _OTHER_MAIN.items() if mark in types), "an Office file, but no Word document")
    raise RejectedFile(f"{name} is {other}; accepted are {ACCEPTED}: save it as a PDF and upload that")


def _has(archive: zipfile.ZipFile, member: str) -> bool:
    return member in archive.namelist()


def _compound(path: Path, name: str) -> str:
    try:
        entries = cfb.CompoundFile(path.read_bytes()).entries
    except LimitExceeded as exc:
        raise LimitExceeded(f"{name}: {exc}") from exc
    except JobqueueError as exc:
        raise RejectedFile(f"{name} is a damaged Office file ({exc}): save it again and upload that") from exc
    if "__properties_version1.0" in entries:
        return MSG
    kind = next((kind for mark, kind in _COMPOUND.items() if mark in entries), None)
    raise RejectedFile(f"{name} is {kind or f'an Office file of an unknown kind; accepted are {ACCEPTED}'}")


def _shown(mime_type: str) -> str:
    return f"a {EXTENSIONS[mime_type][0][1:].upper()} file"
