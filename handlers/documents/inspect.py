"""What a file is, by its content, before anyone reads its text. Nothing a file says of itself is believed."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handlers.documents import office_text, plain, rtf, types
from handlers.documents.cleaning import clean_line, clean_text, iso_date, shown_name
from handlers.documents.engine_parts import no_pages
from handlers.documents.engines import PdfDocument, open_pdf
from handlers.documents.images import frames, open_image, resolution
from handlers.documents.kind import FIRST_PAGES, first_pages, kind_of
from handlers.documents.pdf_file import PdfSource, needed_copy, opened, write_copy
from handlers.documents.plausible import plausible
from handlers.documents.policy import CHECKS, Found, judged
from jobqueue.errors import LimitExceeded, RejectedFile

if TYPE_CHECKING:
    import pikepdf
    from PIL.Image import Image

_EXIF: Final = {0x010F: "camera_make", 0x0110: "camera_model", 0x0131: "software", 0x0132: "created"}
_EXIF_GPS: Final = 0x8825
_PAGE_SIZES: Final = 5
_RTF_CODES: Final = {"dde": "rtf_dde", "template": "rtf_template"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The file under inspection; ``name`` is safe to show."""

    path: Path
    name: str
    size_bytes: int
    max_pages: int
    engine: str
    password: str | None
    copy_to: Path | None

    def check_pages(self, pages: int) -> None:
        if pages > self.max_pages:
            raise LimitExceeded(
                f"{self.name} has more than the {self.max_pages:,} pages allowed (max_pages): upload it in parts"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    pages: int
    metadata: dict[str, str] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    signatures: list[dict[str, Any]] = field(default_factory=list)
    copy: str | None = None
    texts: list[str] = field(default_factory=list)  # of the first pages, as far as they need no recognition


def inspect(
    path: str,
    file_name: str,
    *,
    max_bytes: int,
    max_pages: int,
    engine: str,
    password: str | None = None,
    copy_to: str | None = None,
) -> dict[str, Any]:
    """Check a file and describe it, as the fields of `jobqueue.tasks.DocumentInfo`.

    Args:
        path: the file on this machine.
        file_name: the name it was uploaded under; only for messages and for comparing its extension.
        max_bytes: refuse a larger file.
        max_pages: refuse a file with more pages or frames.
        engine: which PDF engine; see `open_pdf`.
        password: of a protected PDF.
        copy_to: where to write a readable copy of a protected or damaged PDF; without it such a file is refused.

    Returns:
        The fields, ``copy_made`` saying whether a copy was written.

    Raises:
        RejectedFile: empty, damaged, cut off, protected by a password, without pages, not of an accepted type, or with
            content that `policy.POLICY` refuses.
        LimitExceeded: too large, too many pages, or a picture with too many pixels.
    """
    name = shown_name(file_name)
    size = Path(path).stat().st_size
    if size == 0:
        raise RejectedFile(f"{name} is empty: check the original and upload it again")
    if size > max_bytes:
        raise LimitExceeded(f"{name} has {size:,} bytes, more than the {max_bytes:,} allowed (max_upload_bytes)")
    source = _Source(
        path=Path(path),
        name=name,
        size_bytes=size,
        max_pages=max_pages,
        engine=engine,
        password=password,
        copy_to=Path(copy_to) if copy_to else None,
    )
    mime_type = types.type_of(source.path, name)
    mismatch = types.mismatch(name, mime_type)
    facts = _look(source, mime_type)
    findings = judged(facts.found, name=name)
    return {
        "mime_type": mime_type,
        "extension": types.EXTENSIONS[mime_type][0],
        "sha256": _sha256(source.path),
        "size_bytes": size,
        "pages": facts.pages,
        "metadata": facts.metadata,
        "warnings": _warnings(mismatch, facts, findings),
        "findings": findings,
        "fields": facts.fields,
        "signatures": facts.signatures,
        "copy_made": facts.copy,
        "checks": CHECKS,
        **kind_of(facts.texts),
    }


def _look(source: _Source, mime_type: str) -> _Findings:
    """What the type's own inspector finds; its refusals name the file, also those that come from deep down."""
    try:
        return _INSPECTORS[mime_type](source, mime_type)
    except (RejectedFile, LimitExceeded) as exc:
        if str(exc).startswith(source.name):
            raise
        raise type(exc)(f"{source.name}: {exc}") from exc


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _warnings(mismatch: str | None, facts: _Findings, findings: list[dict[str, Any]]) -> list[str]:
    told = [mismatch] if mismatch else []
    if facts.copy == "repaired":
        told.append("The file is damaged: it is read from a repaired copy, and the original is kept.")
    return told + [finding["detail"] for finding in findings]


def _inspect_pdf(source: _Source, _mime_type: str) -> _Findings:
    from handlers.documents import pdf_checks, pdf_drawing

    given = PdfSource(
        path=source.path,
        name=source.name,
        size_bytes=source.size_bytes,
        password=source.password,
        copy_to=source.copy_to,
    )
    with opened(given) as pdf:
        facts = pdf_checks.facts(pdf, size_bytes=source.size_bytes)
        judged(facts.found, name=source.name)  # refused before anything is written or rendered
        copy = needed_copy(given, pdf)
        sizes = _page_sizes(pdf, source)
        pdf_drawing.check_drawing(pdf)
        readable = write_copy(given, pdf, copy) if copy else source.path
    pages, metadata, texts = _look_with_engine(source, readable)
    return _Findings(
        pages=pages,
        metadata={**metadata, **facts.metadata, **sizes},
        found=facts.found,
        fields=facts.fields,
        signatures=facts.signatures,
        copy=copy,
        texts=texts,
    )


def _look_with_engine(source: _Source, path: Path) -> tuple[int, dict[str, str], list[str]]:
    with open_pdf(path, engine=source.engine, file_name=source.name) as pdf:
        pages = pdf.page_count
        if pages < 1:
            raise no_pages(source.name)
        source.check_pages(pages)
        try:
            for number in {1, pages}:
                pdf.picture_share(number)
        except RejectedFile as exc:
            raise RejectedFile(f"{source.name}: {exc}") from exc
        return pages, pdf.metadata, _plausible_texts(pdf, pages)


def _plausible_texts(pdf: PdfDocument, pages: int) -> list[str]:
    """The first pages' text layers; one that can't be read, or can't be what its page says, is as none."""
    texts = []
    for number in range(1, min(pages, FIRST_PAGES) + 1):
        try:
            layer = clean_text(pdf.text(number))
        except RejectedFile:
            continue
        if plausible(layer):
            texts.append(layer)
    return first_pages(texts)


def _page_sizes(pdf: pikepdf.Pdf, source: _Source) -> dict[str, str]:
    """The most common sizes of pages, in points."""
    sizes: Counter[str] = Counter()
    for number, page in enumerate(pdf.pages, start=1):
        source.check_pages(number)
        left, low, right, high = (float(edge) for edge in page.mediabox)
        sizes[f"{abs(right - left):.0f} x {abs(high - low):.0f} pt"] += 1
    return {"page_sizes": ", ".join(size for size, _ in sizes.most_common(_PAGE_SIZES))} if sizes else {}


def _inspect_image(source: _Source, mime_type: str) -> _Findings:
    with open_image(source.path, mime_type, file_name=source.name) as image:
        metadata = {"width_px": str(image.width), "height_px": str(image.height)}
        if dpi := resolution(image):
            metadata["dpi"] = f"{dpi:.0f}"
        about, found = _exif(image)
        pages = 0
        for number in frames(image, source.name):
            source.check_pages(number)
            image.load()
            pages = number
    return _Findings(pages=pages, metadata={**metadata, **about}, found=found)


def _exif(image: Image) -> tuple[dict[str, str], list[Found]]:
    """What the camera wrote; where it was is told of, and not kept."""
    exif = image.getexif()
    values = {key: clean_line(str(exif[tag])) for tag, key in _EXIF.items() if isinstance(exif.get(tag), str)}
    if "created" in values:
        values["created"] = iso_date(values["created"].replace(":", "").replace(" ", ""))
    found = [Found(code="image_location")] if exif.get_ifd(_EXIF_GPS) else []
    return {key: value for key, value in values.items() if value}, found


def _inspect_text(source: _Source, _mime_type: str) -> _Findings:
    text = plain.decode(source.path.read_bytes()) or ""
    if not text.strip():
        raise RejectedFile(f"{source.name} holds only blanks: check the original and upload it again")
    if len(text) > plain.MAX_CHARACTERS:
        raise LimitExceeded(
            f"{source.name} holds {len(text):,} characters, more than the {plain.MAX_CHARACTERS:,} allowed for text"
        )
    return _Findings(pages=1, texts=first_pages([text]))


def _inspect_office(source: _Source, mime_type: str) -> _Findings:
    found: list[Found] = []
    metadata: dict[str, str] = {}
    if mime_type == office_text.DOCX:
        from handlers.documents import office_checks

        found = office_checks.active_content(source.path, name=source.name)
        judged(found, name=source.name)
        metadata = office_checks.properties(source.path, name=source.name)
    elif mime_type == office_text.RTF:
        words = rtf.active_words(source.path.read_bytes())
        found = [Found(code=_RTF_CODES.get(word, "rtf_object"), detail=word) for word in words]
        judged(found, name=source.name)
    pages = office_text.pages_of(source.path, mime_type, name=source.name)
    source.check_pages(len(pages))
    if not any(pages):
        raise RejectedFile(f"{source.name} holds no text: print it to PDF and upload that")
    return _Findings(pages=len(pages), metadata=metadata, found=found, texts=first_pages(pages))


_INSPECTORS: Final[dict[str, Callable[[_Source, str], _Findings]]] = {
    types.PDF: _inspect_pdf,
    **dict.fromkeys(("image/png", "image/jpeg", "image/tiff", "image/webp", "image/heic"), _inspect_image),
    **dict.fromkeys(office_text.READERS, _inspect_office),
    types.TEXT: _inspect_text,
}
