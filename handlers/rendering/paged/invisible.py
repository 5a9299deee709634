"""A page's words as invisible text, each over the place where it is seen.

Text rendering mode 3 (ISO 32000-1, 9.3.6) draws nothing, and viewers find, mark and copy it all the same. Each word is
scaled to its box in both directions, and turned where the page lies on its side or upside down.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from handlers.rendering.bidi import has_rtl, starts_rtl
from handlers.rendering.paged.glyphless import ADVANCE, DESCENT, GlyphlessFont
from handlers.rendering.textual.document import regions
from jobqueue.tasks import PageText, PageWord

FONT: Final = "Unseen"

_SHEET: Final = (1_000, 1_400)  # stands for the size of a page of which none is known
_MARGIN: Final = 0.05
_NUMBER: Final = re.compile(r"\d+")
_TURNS: Final = {0: (1, 0), 90: (0, -1), 180: (-1, 0), 270: (0, 1)}  # clockwise -> which way text runs, y upwards


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedText:
    """Text in a box (left, top, right, bottom) of a page, which reads at a ``turn`` of 0, 90, 180 or 270 degrees."""

    text: str
    box: tuple[float, float, float, float]
    turn: int


def invisible_text(
    page: PageText,
    words: list[PageWord] | None,
    size_pt: tuple[float, float],
    font: GlyphlessFont,
    *,
    name: str = FONT,
) -> bytes:
    """Page content that puts ``words`` over the page, as it is seen, of ``size_pt``; None: all text of the page.

    ``name`` is the font's in the page's resources. Text of which no place is known stands in lines down the page, so
    that at least its page is found.
    """
    size_px = (page.width_px, page.height_px) if page.width_px and page.height_px else _SHEET
    placed = _all(page, size_px) if words is None else _words(words)
    across, down = size_pt[0] / size_px[0], size_pt[1] / size_px[1]
    shown = []
    for one in placed:
        left, top, right, bottom = one.box
        box = (left * across, size_pt[1] - bottom * down, right * across, size_pt[1] - top * down)
        shown.append(b"%b Tm %b" % (_matrix(box, one), font.show(_from_left(one.text))))
    return b"BT /%b 1 Tf 3 Tr\n%b\nET" % (name.encode(), b"\n".join(shown)) if shown else b""


def turn_of(words: list[PageWord]) -> int:
    """How a page's text lies, in degrees clockwise, by the way from word to word and from line to line.

    >>> def word(left: int, top: int, line: int) -> PageWord:
    ...     return PageWord("word", 0, 0.9, left, top, left + 5, top + 5, 1, line)
    >>> turn_of([word(0, 0, 1), word(10, 0, 1), word(0, 20, 2)]), turn_of([word(90, 0, 1), word(90, 9, 1)])
    (0, 90)
    """
    along_x = along_y = next_x = next_y = 0
    line_start = None
    for before, word in pairwise(words):
        line_start = line_start or before
        if (before.block, before.line) == (word.block, word.line):
            along_x += (word.left + word.right) - (before.left + before.right)
            along_y += (word.top + word.bottom) - (before.top + before.bottom)
            continue
        if before.block == word.block:
            next_x += word.left - line_start.left
            next_y += word.top - line_start.top
        line_start = word
    if abs(along_y) <= abs(along_x):  # lines tell up from down, for words of some scripts run from right to left
        return 180 if next_y < 0 else 0
    return 270 if next_x > 0 or (next_x == 0 and along_y < 0) else 90


def _from_left(text: str) -> str:
    """The characters as they stand from left to right: so readers expect glyphs, and turn what runs the other way."""
    if not has_rtl(text):
        return text
    words = [
        _NUMBER.sub(lambda digits: digits[0][::-1], word[::-1]) if has_rtl(word) else word for word in text.split()
    ]
    return " ".join(reversed(words) if starts_rtl(text) else words) + text[len(text.rstrip()) :]


def _words(words: list[PageWord]) -> Iterator[PlacedText]:
    turn = turn_of(words)
    for word, after in pairwise([*words, None]):
        assert word is not None
        same_line = after is not None and (word.block, word.line) == (after.block, after.line)
        # With the blank, for programs that don't look at gaps; it takes nothing of the box.
        yield PlacedText(text=word.text + " " * same_line, box=word[3:7], turn=turn)


def _all(page: PageText, size_px: tuple[int, int]) -> Iterator[PlacedText]:
    yield from _words(list(page.words))
    loose = [line for region in regions(page) for line in region.loose.splitlines() if line.strip()]
    width, height = size_px
    for number, line in enumerate(loose):
        top, bottom = height * number / len(loose), height * (number + 1) / len(loose)
        yield PlacedText(text=line.strip(), box=(width * _MARGIN, top, width * (1 - _MARGIN), bottom), turn=0)


def _matrix(box: tuple[float, float, float, float], placed: PlacedText) -> bytes:
    """The text matrix that sets ``placed`` of size 1 into the box (left, low, right, high, in points)."""
    left, low, right, high = box
    x, y = _TURNS[placed.turn]
    width, height = max(right - left, 0.1), max(high - low, 0.1)
    length, size = (width, height) if x else (height, width)
    scale = length / (ADVANCE * max(1, len(placed.text.rstrip())))
    start_x = left if x - y > 0 else right
    start_y = low if x + y > 0 else high
    up_x, up_y = -y, x
    start_x, start_y = start_x + DESCENT * size * up_x, start_y + DESCENT * size * up_y
    numbers = (x * scale, y * scale, up_x * size, up_y * size, start_x, start_y)
    return b" ".join(b"%.4f" % number for number in numbers)
