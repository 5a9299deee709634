"""The fonts of the PDF: which one has a character, and text as markup that ReportLab can't mistake for its own.

Only fonts out of Python packages, so that a report looks the same on every machine:

1. FiraGO (package ``pymupdf-fonts``, SIL Open Font License): Latin, Greek, Cyrillic, Arabic, Hebrew, Devanagari,
   Georgian, Thai; regular and bold.
2. Noto Sans (the same package): what FiraGO lacks of Latin, Greek, Cyrillic; and the replacement character.
3. Droid Sans Fallback (inside PyMuPDF, Apache License), where PyMuPDF is installed: Chinese, Japanese, Korean.

A character that none of them has (an emoji, a rarer script) is shown as U+FFFD, and `Pen.replaced` tells.

ReportLab's paragraphs understand a markup in which ``<img src=…>`` reads local files, so no string reaches them but
through `Pen.markup`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import groupby
from typing import Final
from xml.sax.saxutils import escape

from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
from reportlab.pdfbase.ttfonts import TTFont

REGULAR: Final = "Report"
BOLD: Final = "Report-Bold"

_REPLACEMENT: Final = "\ufffd"
_INVISIBLE: Final = {"\u200c", "\u200d", *map(chr, range(0xFE00, 0xFE10))}  # joiners and variation selectors
_FALLBACKS: Final = (("FiraGO_Regular", "FiraGO_Bold"), ("NotoSans_Regular", "NotoSans_Bold"))


@dataclass(slots=True)
class Pen:
    """Turns clean text into paragraph markup, and remembers whether a character had to be replaced."""

    replaced: bool = field(default=False, init=False)

    def markup(self, text: str, *, bold: bool = False) -> str:
        """``text`` escaped, with the font named for every stretch that the first font can't show."""
        first = BOLD if bold else REGULAR
        pieces = []
        for font, stretch in groupby(self._shown(text, bold=bold), key=lambda pair: pair[1]):
            piece = escape("".join(char for char, _ in stretch))
            pieces.append(piece if font == first else f'<font name="{font}">{piece}</font>')
        return "".join(pieces)

    def width(self, text: str, size: float, *, bold: bool = False) -> float:
        """Width of ``text`` in points when set in ``size`` points."""
        return sum(stringWidth(char, font, size) for char, font in self._shown(text, bold=bold))

    def _shown(self, text: str, *, bold: bool) -> list[tuple[str, str]]:
        shown = []
        for char in text:
            if char in _INVISIBLE:
                continue
            font = _font_of(char, bold)
            if font is None:
                self.replaced = True
                char, font = _REPLACEMENT, _font_of(_REPLACEMENT, bold)  # noqa: PLW2901  # what is shown in its place
            shown.append((char, font or REGULAR))
        return shown


@cache
def _font_of(char: str, bold: bool) -> str | None:
    code = ord(char)
    return next((font.fontName for font in register()[bold] if code in font.face.charToGlyph), None)


@cache
def register() -> tuple[tuple[TTFont, ...], tuple[TTFont, ...]]:
    """Make the fonts known to ReportLab, once a process: the regular ones and the bold ones, best first."""

    def load(name: str, data: bytes) -> TTFont:
        font = TTFont(name, io.BytesIO(data), shapable=False)
        registerFont(font)
        return font

    chains: tuple[list[TTFont], list[TTFont]] = ([], [])
    for number, modules in enumerate(_FALLBACKS):
        for chain, first, module in zip(chains, (REGULAR, BOLD), modules, strict=True):
            name = f"{first}-{number}" if number else first
            chain.append(load(name, import_module(f"pymupdf_fonts.{module}").fontbuffer))
    if (data := _east_asian()) is not None:
        font = load(f"{REGULAR}-EastAsian", data)
        for chain in chains:
            chain.append(font)
    return tuple(chains[0]), tuple(chains[1])


def _east_asian() -> bytes | None:
    try:
        import pymupdf  # noqa: PLC0415  # optional, and only in the sandbox
    except ImportError:
        return None
    return bytes(pymupdf.Font("cjk").buffer)  # type: ignore[no-untyped-call]  # PyMuPDF ships no types
