"""Reading PDF files: one port, two engines.

PyMuPDF is the default. pypdfium2 does the same under a permissive licence, for those to whom PyMuPDF's AGPL is no
option; only the engine asked for is ever imported. Neither may be used from two threads at once, and both are
native code fed with hostile bytes: call them in sandbox children only.
"""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from handlers.documents.cleaning import clean_line, iso_date
from jobqueue.errors import ConfigError, RejectedFile

if TYPE_CHECKING:
    from PIL.Image import Image

POINTS_PER_INCH: Final = 72.0
_METADATA_KEYS: Final[tuple[str, ...]] = ("title", "author", "subject", "keywords", "creator", "producer")
_Box = tuple[float, float, float, float]
_METADATA_DATES: Final = {"creationdate": "created", "moddate": "modified"}


class PdfDocument(Protocol):
    """An open PDF. Page numbers are 1-based; a page that can't be read raises `RejectedFile` naming it."""

    @property
    def page_count(self) -> int:
        """As the file claims; may be 0."""
        ...

    @property
    def metadata(self) -> dict[str, str]:
        """The info dictionary: ``title author subject keywords creator producer created modified``, what there is."""
        ...

    def text(self, number: int) -> str:
        """The page's text layer in the file's own order, filled form fields included; not yet cleaned."""
        ...

    def picture_share(self, number: int) -> float:
        """How much of the page is under pictures, 0..1: near 1 for a scan, be it in one piece or in strips."""
        ...

    def bare_pictures(self, number: int, *, min_share: float) -> list[_Box]:
        """The pictures that cover at least that share of the page, without any text of the layer on them.

        Each as left, top, right, bottom of the page as it is rendered, in parts of its width and height.
        """
        ...

    def scan_dpi(self, number: int) -> float | None:
        """The resolution of the largest picture on the page, in dots per inch; None where there is no picture."""
        ...

    def render(self, number: int, *, dpi: float, max_pixels: int) -> tuple[Image, float]:
        """The page in grey, and the resolution used: ``dpi``, or the highest that keeps within ``max_pixels``."""
        ...


def open_pdf(path: Path, *, engine: str, file_name: str) -> AbstractContextManager[PdfDocument]:
    """Open a PDF with the engine of that name (``pymupdf``, ``pypdfium2``).

    Raises:
        RejectedFile: it needs a password, or is no readable PDF; names ``file_name``.
        ConfigError: there is no engine of that name, or it is not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(f"there is no text_engine {engine!r}: set it to one of {', '.join(ENGINES)}")
    if importlib.util.find_spec(engine) is None:
        raise ConfigError(f"text_engine is {engine!r}, which is not installed: install it, or set another engine")
    return ENGINES[engine](path, file_name)


def fitting_dpi(width_pt: float, height_pt: float, *, dpi: float, max_pixels: int) -> float:
    """The highest resolution up to ``dpi`` at which a page of that size has at most ``max_pixels``.

    >>> fitting_dpi(612, 792, dpi=300, max_pixels=25_000_000)
    300
    >>> round(fitting_dpi(6120, 7920, dpi=300, max_pixels=25_000_000))
    52
    """
    # The engines round each side up to whole pixels: solve (width * r + 1) * (height * r + 1) = max_pixels for r.
    width, height = width_pt / POINTS_PER_INCH, height_pt / POINTS_PER_INCH
    root = math.sqrt((width + height) ** 2 + 4 * width * height * (max_pixels - 1))
    return min(dpi, 2 * (max_pixels - 1) / (width + height + root))


def no_pages(file_name: str) -> RejectedFile:
    """The answer to a PDF without a page, whoever notices it."""
    return RejectedFile(f"{file_name} has no pages: export it again and upload that")


def _needs_password(file_name: str) -> RejectedFile:
    return RejectedFile(f"{file_name} is protected by a password: remove the password and upload it again")


def _unreadable(file_name: str, exc: Exception) -> RejectedFile:
    reason = clean_line(str(exc), max_chars=200)
    return RejectedFile(
        f"{file_name} is damaged and can't be opened as a PDF ({reason}): export it again and upload that"
    )


def _metadata(raw: dict[str, Any]) -> dict[str, str]:
    given = {key.lower(): str(value) for key, value in raw.items() if value}
    found = {key: clean_line(given[key]) for key in _METADATA_KEYS if key in given}
    found |= {name: iso_date(given[key]) for key, name in _METADATA_DATES.items() if key in given}
    return {key: value for key, value in found.items() if value}


def _share(picture: _Box, page: _Box) -> float:
    """The part of the page's area under the picture; both as left, low, right, high."""
    across = max(0.0, min(picture[2], page[2]) - max(picture[0], page[0]))
    down = max(0.0, min(picture[3], page[3]) - max(picture[1], page[1]))
    return across * down / ((page[2] - page[0]) * (page[3] - page[1]))


def _rendered(box: _Box, sheet: _Box, rotation: int) -> _Box:
    """A box of the sheet (left, low, right, high, in points) as it is rendered (left, top, right, bottom, in parts)."""
    width, height = sheet[2] - sheet[0], sheet[3] - sheet[1]
    left, right = (box[0] - sheet[0]) / width, (box[2] - sheet[0]) / width
    top, bottom = (sheet[3] - box[3]) / height, (sheet[3] - box[1]) / height
    for _ in range(rotation // 90):  # clockwise
        left, top, right, bottom = 1 - bottom, left, 1 - top, right
    return left, top, right, bottom


def _largest_dpi(pictures: Iterable[tuple[_Box, tuple[int, int]]]) -> float | None:
    """The resolution of the picture with the largest box; either may be on its side, so areas are compared."""
    area, pixels = max(
        (((box[2] - box[0]) * (box[3] - box[1]), size[0] * size[1]) for box, size in pictures), default=(0.0, 0)
    )
    return POINTS_PER_INCH * math.sqrt(pixels / area) if area > 0 and pixels > 0 else None


@contextmanager
def _reading(number: int) -> Iterator[None]:
    """Whatever an engine raises over a page's bytes is that page's fault; the engines name no classes for it."""
    try:
        yield
    except MemoryError:  # the sandbox's limit, which it reports itself
        raise
    except Exception as exc:
        raise RejectedFile(
            f"page {number} is damaged and can't be read ({clean_line(str(exc), max_chars=200)})"
        ) from exc


class _MuPdf:
    def __init__(self, document: Any, pymupdf: Any, page_count: int) -> None:
        self.page_count = page_count
        self._document = document
        self._pymupdf = pymupdf
        # Ligatures as letters; U+FFFD, not the glyph's number, for a glyph without a character.
        self._flags = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_MEDIABOX_CLIP

    @property
    def metadata(self) -> dict[str, str]:
        return _metadata(self._document.metadata or {})

    def text(self, number: int) -> str:
        with _reading(number):
            return str(self._page(number).get_text("text", flags=self._flags))

    def picture_share(self, number: int) -> float:
        with _reading(number):
            page = self._page(number)
            return min(1.0, sum(_share(info["bbox"], page.rect) for info in page.get_image_info()))

    def bare_pictures(self, number: int, *, min_share: float) -> list[_Box]:
        with _reading(number):
            page = self._page(number)
            if not page.get_images():  # a look at the page's resources; the pictures' places take running the page
                return []
            width, height = page.rect.width, page.rect.height
            boxes = [info["bbox"] for info in page.get_image_info() if _share(info["bbox"], page.rect) >= min_share]
            return [
                (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
                for box in boxes
                if not page.get_textbox(box).strip()
            ]

    def scan_dpi(self, number: int) -> float | None:
        with _reading(number):
            infos = self._page(number).get_image_info()
            return _largest_dpi((tuple(info["bbox"]), (info["width"], info["height"])) for info in infos)

    def render(self, number: int, *, dpi: float, max_pixels: int) -> tuple[Image, float]:
        from PIL import Image

        with _reading(number):
            page = self._page(number)
            dpi = fitting_dpi(page.rect.width, page.rect.height, dpi=dpi, max_pixels=max_pixels)
            zoom = self._pymupdf.Matrix(dpi / POINTS_PER_INCH, dpi / POINTS_PER_INCH)
            pixels = page.get_pixmap(matrix=zoom, colorspace=self._pymupdf.csGRAY, alpha=False)
            return Image.frombytes("L", (pixels.width, pixels.height), pixels.samples), dpi

    def _page(self, number: int) -> Any:
        return self._document.load_page(number - 1)


@contextmanager
def _open_mupdf(path: Path, file_name: str) -> Iterator[PdfDocument]:
    pymupdf: Any = importlib.import_module("pymupdf")  # it is typed in part only, and so not to be called as typed
    pymupdf.TOOLS.mupdf_display_errors(False)  # they would go to the child's stderr, one a broken object
    pymupdf.TOOLS.mupdf_display_warnings(False)
    with ExitStack() as stack:
        try:
            document = stack.enter_context(pymupdf.open(path, filetype="pdf"))
            locked = document.needs_pass
            pages = 0 if locked else document.page_count  # a count that the file's page tree belies fails here
        except (RuntimeError, ValueError) as exc:
            raise _unreadable(file_name, exc) from exc
        if locked:
            raise _needs_password(file_name)
        yield _MuPdf(document, pymupdf, pages)


class _Pdfium:
    def __init__(self, document: Any, raw: Any) -> None:
        self.page_count = len(document)
        self._document = document
        self._raw = raw

    @property
    def metadata(self) -> dict[str, str]:
        return _metadata(self._document.get_metadata_dict())

    def text(self, number: int) -> str:
        with _reading(number):
            page = self._document[number - 1]
            if self._document.formenv:
                page.flatten()  # in memory: the values of form fields become text like any other
                page = self._document[number - 1]
            # PDFium marks a hyphen at a line's end, and the line's end with it, by one noncharacter.
            return str(page.get_textpage().get_text_range()).replace("\ufffe", "-\n")

    def picture_share(self, number: int) -> float:
        with _reading(number):
            page = self._document[number - 1]
            pictures = page.get_objects(filter=[self._raw.FPDF_PAGEOBJ_IMAGE], max_depth=4)
            return min(1.0, sum(_share(picture.get_bounds(), page.get_bbox()) for picture in pictures))

    def bare_pictures(self, number: int, *, min_share: float) -> list[_Box]:
        with _reading(number):
            page = self._document[number - 1]
            sheet, text = page.get_bbox(), page.get_textpage()
            pictures = page.get_objects(filter=[self._raw.FPDF_PAGEOBJ_IMAGE], max_depth=4)
            boxes = [box for box in (picture.get_bounds() for picture in pictures) if _share(box, sheet) >= min_share]
            return [
                _rendered(box, sheet, page.get_rotation()) for box in boxes if not text.get_text_bounded(*box).strip()
            ]

    def scan_dpi(self, number: int) -> float | None:
        with _reading(number):
            pictures = self._document[number - 1].get_objects(filter=[self._raw.FPDF_PAGEOBJ_IMAGE], max_depth=4)
            return _largest_dpi((picture.get_bounds(), picture.get_px_size()) for picture in pictures)

    def render(self, number: int, *, dpi: float, max_pixels: int) -> tuple[Image, float]:
        with _reading(number):
            page = self._document[number - 1]
            dpi = fitting_dpi(*page.get_size(), dpi=dpi, max_pixels=max_pixels)
            bitmap = page.render(scale=dpi / POINTS_PER_INCH, grayscale=True)
            image: Image = bitmap.to_pil().convert("L")
            return image, dpi


@contextmanager
def _open_pdfium(path: Path, file_name: str) -> Iterator[PdfDocument]:
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as exc:
        raise _pdfium_refusal(path, file_name, exc, raw) from exc
    try:
        if document.get_formtype():
            document.init_forms()
        yield _Pdfium(document, raw)
    finally:
        document.close()


def _pdfium_refusal(path: Path, file_name: str, exc: Exception, raw: Any) -> RejectedFile:
    """Why PDFium didn't open a file.

    The error code in ``exc`` can be an earlier file's, for a document that opens but has no pages sets none: the
    file is tried again, to have its own.
    """
    document = raw.FPDF_LoadDocument(os.fsencode(path), None)
    if document:
        raw.FPDF_CloseDocument(document)
        return no_pages(file_name)
    if raw.FPDF_GetLastError() == raw.FPDF_ERR_PASSWORD:
        return _needs_password(file_name)
    return _unreadable(file_name, exc)


ENGINES: Final[dict[str, Callable[[Path, str], AbstractContextManager[PdfDocument]]]] = {
    "pymupdf": _open_mupdf,
    "pypdfium2": _open_pdfium,
}
