"""PyMuPDF behind the port of `handlers.documents.engines`."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.documents.engine_parts import (
    POINTS_PER_INCH,
    Box,
    fitting_dpi,
    largest_dpi,
    metadata_of,
    needs_password,
    reading,
    share,
    unreadable,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from handlers.documents.engines import Layer, PdfDocument


class _MuPdf:
    def __init__(self, document: Any, pymupdf: Any, page_count: int) -> None:
        self.page_count = page_count
        self._document = document
        self._pymupdf = pymupdf
        # Ligatures as letters; U+FFFD, not the glyph's number, for a glyph without a character.
        self._flags = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_MEDIABOX_CLIP

    @property
    def metadata(self) -> dict[str, str]:
        return metadata_of(self._document.metadata or {})

    def text(self, number: int) -> str:
        with reading(number):
            return str(self._page(number).get_text("text", flags=self._flags))

    def layer(self, number: int) -> Layer:
        from handlers.documents.engines import Layer  # it names this module

        with reading(number):
            page = self._page(number)
            sheet = page.rect
            extracted = page.get_textpage(flags=self._flags)  # interpreting the page, once: most of the work
            words = extracted.extractWORDS()
            if page.rotation:  # they are extracted as if there was none
                turn = page.rotation_matrix
                words = [(*(self._pymupdf.Rect(word[:4]) * turn), *word[4:]) for word in words]
            return Layer(text=extracted.extractText(), words=words, width_pt=sheet.width, height_pt=sheet.height)

    def picture_share(self, number: int) -> float:
        with reading(number):
            page = self._page(number)
            return min(1.0, sum(share(box, page.rect) for box, _ in self._pictures(page)))

    def bare_pictures(self, number: int, *, min_share: float) -> list[Box]:
        with reading(number):
            page = self._page(number)
            if not page.get_images():  # a look at the page's resources; the pictures' places take running the page
                return []
            width, height = page.rect.width, page.rect.height
            return [
                (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
                for box, unturned in self._pictures(page)
                if share(box, page.rect) >= min_share and not page.get_textbox(unturned).strip()
            ]

    def scan_dpi(self, number: int) -> float | None:
        with reading(number):
            infos = self._page(number).get_image_info()
            return largest_dpi((tuple(info["bbox"]), (info["width"], info["height"])) for info in infos)

    def render(self, number: int, *, dpi: float, max_pixels: int) -> tuple[Image, float]:
        from PIL import Image

        with reading(number):
            page = self._page(number)
            dpi = fitting_dpi(page.rect.width, page.rect.height, dpi=dpi, max_pixels=max_pixels)
            zoom = self._pymupdf.Matrix(dpi / POINTS_PER_INCH, dpi / POINTS_PER_INCH)
            pixels = page.get_pixmap(matrix=zoom, colorspace=self._pymupdf.csGRAY, alpha=False)
            return Image.frombytes("L", (pixels.width, pixels.height), pixels.samples), dpi

    def _pictures(self, page: Any) -> list[tuple[Any, Any]]:
        """The place of each picture on the page as rendered, and before the page's rotation, as texts are asked for."""
        boxes = [self._pymupdf.Rect(info["bbox"]) for info in page.get_image_info()]
        return [(box * page.rotation_matrix, box) for box in boxes]

    def _page(self, number: int) -> Any:
        return self._document.load_page(number - 1)


@contextmanager
def open_document(path: Path, file_name: str) -> Iterator[PdfDocument]:
    pymupdf: Any = importlib.import_module("pymupdf")  # it is typed in part only, and so not to be called as typed
    pymupdf.TOOLS.mupdf_display_errors(False)  # they would go to the child's stderr, one a broken object
    pymupdf.TOOLS.mupdf_display_warnings(False)
    with ExitStack() as stack:
        try:
            document = stack.enter_context(pymupdf.open(path, filetype="pdf"))
            locked = document.needs_pass
            pages = 0 if locked else document.page_count  # a count that the file's page tree belies fails here
        except (RuntimeError, ValueError) as exc:
            raise unreadable(file_name, exc) from exc
        if locked:
            raise needs_password(file_name)
        yield _MuPdf(document, pymupdf, pages)
