"""Reading the words of a picture: one port, two engines, both of them Tesseract with the system's language data.

``tesserocr`` has Tesseract as a library and keeps the loaded model from page to page; it exists where its wheel does.
``tesseract`` runs the program, a process a page. Both are native code fed with hostile bytes: sandbox children only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from jobqueue.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

AUTO: Final = "auto"
_COLUMNS: Final = 12
_WORD_LEVEL: Final = "5"  # the rows above it are of pages, blocks, paragraphs and lines
Box = tuple[int, int, int, int]
PAGE_LAYOUT: Final = 3  # Tesseract's mode for a whole upright page: blocks and columns, found by itself
ORIENTATION_ONLY: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word as recognised.

    Attributes:
        confidence: 0..1.
        box: left, top, right, bottom in pixels of the picture.
        block, paragraph, line: numbers, each counted within the one before.
    """

    text: str
    confidence: float
    box: Box
    block: int
    paragraph: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """By how many degrees clockwise a sheet has to be turned to stand upright, and Tesseract's trust in that.

    Attributes:
        degrees: 0, 90, 180 or 270.
        confidence: without an upper bound; 2 and more is seldom wrong.
    """

    degrees: int
    confidence: float


class OcrEngine(Protocol):
    """Tesseract, however it is run.

    Every method raises `Unavailable` when the system has no Tesseract, and both readings raise `LimitExceeded` after
    ``timeout_s``, `RejectedFile` for a picture that can't be read, and `SandboxCrashed` when the process died.
    """

    def languages(self) -> frozenset[str]:
        """The codes of the installed language data, ``osd`` and the like included."""
        ...

    def words(self, image: Image, *, languages: str, dpi: float | None, timeout_s: float) -> list[Word]:
        """The words of a grey picture in reading order. ``languages`` are installed codes, joined by ``+``."""
        ...

    def orientation(self, image: Image, *, timeout_s: float) -> Orientation | None:
        """How a grey picture lies; None where that can't be told, for want of letters or of the data for it."""
        ...


def ocr_engine(name: str) -> OcrEngine:
    """The engine of that name: ``tesserocr``, ``tesseract``, or ``auto`` for the fastest that is installed.

    Raises:
        ConfigError: there is no such engine, or it is not installed.
    """
    from handlers.documents.ocr_library import TesseractLibrary  # noqa: PLC0415  # the adapters know this module
    from handlers.documents.ocr_program import TesseractProgram  # noqa: PLC0415

    has_library = importlib.util.find_spec("tesserocr") is not None
    match name:
        case "tesserocr" if not has_library:
            raise ConfigError("ocr_engine is 'tesserocr', which is not installed: pip install tesserocr, or set 'auto'")
        case "tesserocr":
            return TesseractLibrary()
        case "tesseract":
            return TesseractProgram()
        case "auto":
            return TesseractLibrary() if has_library else TesseractProgram()
    raise ConfigError(f"there is no ocr_engine {name!r}: set it to auto, tesserocr or tesseract")


def words_of_table(table: str) -> list[Word]:
    r"""Words from Tesseract's table: lines of twelve columns parted by tabs, the word last.

    >>> table = "5\t1\t1\t1\t1\t1\t36\t92\t60\t24\t91.5\tDeed\n4\t1\t1\t1\t1\t0\t36\t92\t60\t24\t-1\t\n"
    >>> [(word.text, word.confidence, word.box) for word in words_of_table(table)]
    [('Deed', 0.915, (36, 92, 96, 116))]
    """
    words: list[Word] = []
    for row in table.split("\n"):  # not splitlines(), which would part a word at rarer separators
        cells = row.split("\t", _COLUMNS - 1)
        if len(cells) < _COLUMNS or cells[0] != _WORD_LEVEL or not cells[-1].strip():
            continue
        left, top, width, height = map(int, cells[6:10])
        words.append(
            Word(
                text=cells[-1].strip(),
                confidence=round(min(1.0, max(0.0, float(cells[10]) / 100)), 4),
                box=(left, top, left + width, top + height),
                block=int(cells[2]),
                paragraph=int(cells[3]),
                line=int(cells[4]),
            )
        )
    return words


def check_languages(wanted: str, installed: Collection[str]) -> None:
    """Refuse a language without data, which Tesseract itself would leave out and read nonsense.

    Raises `ConfigError`, naming the packages to install.

    >>> check_languages("eng", {"eng", "osd"})
    """
    missing = [language for language in wanted.split("+") if language not in installed]
    if missing:
        packages = " ".join(f"tesseract-ocr-{language.lower().replace('_', '-')}" for language in missing)
        raise ConfigError(
            f"ocr_languages is {wanted!r}, but tesseract has no data for {', '.join(missing)}: "
            f"install {packages} (apt-get), or change the setting"
        )
