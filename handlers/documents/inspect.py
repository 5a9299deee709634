"""What a file is, by its content, before anyone reads its text. Nothing a file says of itself is believed."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

from handlers.documents import plain
from handlers.documents.cleaning import shown_name
from handlers.documents.engines import no_pages, open_pdf
from handlers.documents.images import frames, open_image, resolution
from jobqueue.errors import LimitExceeded, RejectedFile

# The allow list: each type with its usual extension first.
EXTENSIONS: Final = {
    "application/pdf": (".pdf",),
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/tiff": (".tif", ".tiff"),
    "text/plain": (".txt", ".text"),
}
_ACCEPTED: Final = "PDF, PNG, JPEG, TIFF and plain text"
_HEAD_BYTES: Final = 4096
_TAIL_BYTES: Final = 4096
_PDF_HEADER: Final = re.compile(rb"(?:^|[\r\n])[ \t]*%PDF-\d")
_LINEARIZED: Final = re.compile(rb"/Linearized\b.{0,200}?/L\s+(\d{1,12})\b", re.DOTALL)
# Markup is text, but not text to read.
_MARKUP: Final = {
    b"{\\rtf": "an RTF document",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML file",
    b"%!ps": "a PostScript file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The file under inspection; ``name`` is safe to show."""

    path: Path
    name: str
    size_bytes: int
    max_pages: int
    engine: str

    def head(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(_HEAD_BYTES)

    def tail(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(max(0, self.size_bytes - _TAIL_BYTES))
            return file.read()

    def check_pages(self, pages: int) -> None:
        if pages > self.max_pages:
            raise LimitExceeded(
                f"{self.name} has more than the {self.max_pages:,} pages allowed (max_pages): upload it in parts"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    pages: int
    metadata: dict[str, str] = field(default_factory=dict)


def inspect(path: str, file_name: str, *, max_bytes: int, max_pages: int, engine: str) -> dict[str, Any]:
    """Check a file and describe it, as the fields of `jobqueue.tasks.DocumentInfo`.

    Args:
        path: the file on this machine.
        file_name: the name it was uploaded under; only for messages and for comparing its extension.
        max_bytes: refuse a larger file.
        max_pages: refuse a file with more pages or frames.
        engine: which PDF engine; see `open_pdf`.

    Raises:
        RejectedFile: empty, damaged, cut off, protected by a password, without pages, or not of an accepted type.
        LimitExceeded: too large, too many pages, or a picture with too many pixels.
    """
    name = shown_name(file_name)
    size = Path(path).stat().st_size
    if size == 0:
        raise RejectedFile(f"{name} is empty: check the original and upload it again")
    if size > max_bytes:
        raise LimitExceeded(f"{name} has {size:,} bytes, more than the {max_bytes:,} allowed (max_upload_bytes)")
    source = _Source(path=Path(path), name=name, size_bytes=size, max_pages=max_pages, engine=engine)
    mime_type = _type_by_content(source)
    warnings = _compare_with_name(source, mime_type)
    found = _INSPECTORS[mime_type](source, mime_type)
    with source.path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "mime_type": mime_type,
        "extension": EXTENSIONS[mime_type][0],
        "sha256": sha256,
        "size_bytes": size,
        "pages": found.pages,
        "metadata": found.metadata,
        "warnings": warnings,
    }


def _type_by_content(source: _Source) -> str:
    import filetype

    head = source.head()
    if _PDF_HEADER.search(head[:1024]):  # the header may stand below other lines, as in every common reader
        return "application/pdf"
    guess = filetype.guess_mime(head)
    if guess in EXTENSIONS:
        return str(guess)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    markup = next((kind for mark, kind in _MARKUP.items() if start.startswith(mark)), None)
    if guess is None and markup is None and plain.decode(source.path.read_bytes()) is not None:
        return "text/plain"
    kind = markup or (f"of type {guess}" if guess else "of an unknown type")
    raise RejectedFile(f"{source.name} is {kind}; accepted are {_ACCEPTED}: save it as a PDF and upload that")


def _compare_with_name(source: _Source, mime_type: str) -> list[str]:
    """Text under the name of a PDF or picture is a broken download, so it is refused; other mismatches are told."""
    extension = PurePath(source.name).suffix.lower()
    if not extension or extension in EXTENSIONS[mime_type]:
        return []
    claimed = next((kind for kind, names in EXTENSIONS.items() if extension in names), None)
    if mime_type == "text/plain" and claimed:
        raise RejectedFile(f"{source.name} is not a {extension[1:].upper()} file but plain text: export it again")
    return [f"The name ends in {extension}, but the content is {mime_type}."]


def _inspect_pdf(source: _Source, _mime_type: str) -> _Findings:
    linearized = _LINEARIZED.search(source.head())
    cut = linearized is not None and int(linearized[1]) > source.size_bytes
    if cut or b"%%EOF" not in source.tail():
        # The engines would mend such a file and silently lose the pages that are gone.
        raise RejectedFile(f"{source.name} is cut off, its end is missing: upload the whole PDF again")
    with open_pdf(source.path, engine=source.engine, file_name=source.name) as pdf:
        pages = pdf.page_count
        if pages < 1:
            raise no_pages(source.name)
        source.check_pages(pages)
        try:
            for number in {1, pages}:
                pdf.picture_share(number)
        except RejectedFile as exc:
            raise RejectedFile(f"{source.name}: {exc}") from exc
        return _Findings(pages=pages, metadata=pdf.metadata)


def _inspect_image(source: _Source, mime_type: str) -> _Findings:
    with open_image(source.path, mime_type, file_name=source.name) as image:
        metadata = {"width_px": str(image.width), "height_px": str(image.height)}
        if dpi := resolution(image):
            metadata["dpi"] = f"{dpi:.0f}"
        pages = 0
        for number in frames(image, source.name):
            source.check_pages(number)
            image.load()
            pages = number
    return _Findings(pages=pages, metadata=metadata)


def _inspect_text(source: _Source, _mime_type: str) -> _Findings:
    text = plain.decode(source.path.read_bytes()) or ""
    if not text.strip():
        raise RejectedFile(f"{source.name} holds only blanks: check the original and upload it again")
    if len(text) > plain.MAX_CHARACTERS:
        raise LimitExceeded(
            f"{source.name} holds {len(text):,} characters, more than the {plain.MAX_CHARACTERS:,} allowed for text"
        )
    return _Findings(pages=1)


_INSPECTORS: Final[dict[str, Callable[[_Source, str], _Findings]]] = {
    "application/pdf": _inspect_pdf,
    "image/png": _inspect_image,
    "image/jpeg": _inspect_image,
    "image/tiff": _inspect_image,
    "text/plain": _inspect_text,
}
