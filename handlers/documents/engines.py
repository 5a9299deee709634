"""Reading PDF files: one port, two engines.

PyMuPDF is the default. pypdfium2 does the same under a permissive licence, for those to whom PyMuPDF's AGPL is no
option; only the engine asked for is ever imported. Neither may be used from two threads at once, and both are
native code fed with hostile bytes: call them in sandbox children only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from handlers.documents import mupdf, pdfium
from handlers.documents.engine_parts import Box
from jobqueue.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

LayerWord = tuple[float, float, float, float, str, int, int, int]
"""Left, top, right, bottom; the word; its block, its line in the block, its number in the line, each from 0.

A plain tuple, as PyMuPDF gives them: a page has hundreds, a document a million.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A page's text layer, in the file's own order and not yet cleaned.

    Attributes:
        text: as `PdfDocument.text` gives it.
        words: those of the text; where a gap wider than a letter parts two, they are in different lines. Boxes in
            points from the top left corner of the page as it is rendered, its rotation applied; they may reach
            beyond the page.
        width_pt, height_pt: of the page as it is rendered.
    """

    text: str
    words: list[LayerWord]
    width_pt: float
    height_pt: float


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

    def layer(self, number: int) -> Layer:
        """The same text with the place of each of its words."""
        ...

    def picture_share(self, number: int) -> float:
        """How much of the page is under pictures, 0..1: near 1 for a scan, be it in one piece or in strips."""
        ...

    def bare_pictures(self, number: int, *, min_share: float) -> list[Box]:
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


ENGINES: Final[dict[str, Callable[[Path, str], AbstractContextManager[PdfDocument]]]] = {
    "pymupdf": mupdf.open_document,
    "pypdfium2": pdfium.open_document,
}
