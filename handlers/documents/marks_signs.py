"""Cheap signs that a page with a text layer has marks, so that the others needn't be rendered."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from handlers.documents.pdf_decode import TooLong, decoded

if TYPE_CHECKING:
    import pikepdf

_MAX_CONTENT_BYTES: Final = 500_000  # a page of print has 5,000, a map millions
_MAX_RECTANGLES: Final = 5_000
_BLANK: Final = "____"
_GLYPHS: Final = re.compile(r"[\[_☐-☒✓-✘□▢◻⬜⊠⊗❏-❒🗷-🗹🞎\uf020-\uf0ff]|\([xX✓]?\)|\( ")
_SIGNING: Final = re.compile(r"\b(?:signatures?|initials?|signed)\b|\bby:|\bdate:", re.IGNORECASE)
_DRAWN: Final = re.compile(rb"\sre\s")
_SIDES: Final = re.compile(rb"(-?[\d.]{1,12})\s+(-?[\d.]{1,12})\s*\Z")
_SIDES_BYTES: Final = 40
_STROKE: Final = re.compile(rb"\bl\s+[Ss]\b")
_PICTURE_FONT: Final = re.compile(r"dingbats|wingdings|webdings", re.IGNORECASE)
_SQUARE: Final = 0.85  # the short side to the long one; whole pages are clipped to, too, and have 0.77 at most
_THIN: Final = 0.04


def in_glyphs(text: str) -> bool:
    """Whether there may be check boxes among a text's characters."""
    return _GLYPHS.search(text) is not None


def in_text(text: str) -> bool:
    """Whether there are lines to write on among a text's characters."""
    return _BLANK in text


def in_content(page: pikepdf.Page, text: str) -> bool:
    """Whether a page's content draws squares, or, where there is talk of signing, lines; or has a font of pictures."""
    content = _content(page)
    thin = _STROKE.search(content) is not None
    for drawn in islice(_DRAWN.finditer(content), _MAX_RECTANGLES):
        found = _SIDES.search(content, max(0, drawn.start() - _SIDES_BYTES), drawn.start())
        short, long = sorted((_side(found[1]), _side(found[2]))) if found else (0.0, 0.0)
        if short >= _SQUARE * long > 0:
            return True
        thin = thin or short <= _THIN * long
    return (thin and _SIGNING.search(text) is not None) or _has_picture_font(page)


def _content(page: pikepdf.Page) -> bytes:
    import pikepdf  # noqa: PLC0415  # heavy

    contents: Any = page.obj.get("/Contents")
    streams = list(contents) if isinstance(contents, pikepdf.Array) else [contents]
    content = b""
    for stream in streams:
        if isinstance(stream, pikepdf.Stream):
            try:
                content += decoded(stream, max_bytes=_MAX_CONTENT_BYTES - len(content)) + b"\n"
            except TooLong:
                break
    return content


def _has_picture_font(page: pikepdf.Page) -> bool:
    try:
        fonts: Any = page.resources.get("/Font", {})
        return any(_PICTURE_FONT.search(str(font.get("/BaseFont"))) for _, font in fonts.items())
    except (AttributeError, TypeError, ValueError, LookupError):
        return False  # no resources as they should be


def _side(digits: bytes) -> float:
    try:
        return abs(float(digits))
    except ValueError:  # "1.2.3"
        return 0.0
