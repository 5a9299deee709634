"""Check boxes that are characters of a page's text: ☐ and ☑, ``[ ]`` and ``[X]``, ``_X_``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from handlers.documents.marks_labels import Around, sides
from handlers.documents.ocr_engines import Box
from jobqueue.tasks import PageMark, PageWord

# With Wingdings and its kin where a PDF gives their glyphs as characters for private use.
_EMPTY: Final = frozenset("☐□▢◻❏❐❑❒⬜🞎\uf06f\uf0a8\uf071\uf072\uf0a3\uf02a")
_TICKED: Final = frozenset("☑☒✓✔✗✘⊠⊗🗹🗷🗸\uf0fe\uf0fd\uf0fc\uf0fb\uf052\uf051\uf053\uf054")
_TICKS: Final = "xX✓✔✗✘\uf0fc\uf0fb"
_SQUARE: Final = re.compile(rf"\[_*(?P<tick>[{_TICKS}]?)_*\]")
_ROUND: Final = re.compile(rf"\((?P<tick>[{_TICKS}]?)\)")
_UNDERLINED: Final = re.compile(rf"_{{1,6}}(?P<tick>[{_TICKS}])_{{0,6}}(?!\w)")
_NUMBERED: Final = re.compile(r"\((?:ix|xi|w|y)\)")  # (x) is a number there
_LONGEST_SPLIT: Final = 3  # "[", "X", "]"
_PHONE: Final = re.compile(r"[\d_]")  # "( ) 555-0100"


def glyph_marks(words: Sequence[PageWord], around: Around, *, at_most: int) -> list[PageMark]:
    """The check boxes among a page's words, each with what stands right of it, or left where nothing does.

    >>> words = [PageWord("[X]", 0, 1.0, 10, 10, 30, 22, 1, 1), PageWord("Cash", 4, 1.0, 34, 10, 60, 22, 1, 1)]
    >>> [(mark.checked, mark.label) for mark in glyph_marks(words, Around(words, unit=2.0), at_most=9)]
    [(True, 'Cash')]
    """
    numbered = any(_NUMBERED.match(word.text.lower()) for word in words)
    found = list(islice(_found(words, numbered=numbered), at_most))
    boxes = [box for box, _ in found]
    return [
        PageMark(
            kind="checkbox",
            checked=checked,
            label=around.right_of(box, but=boxes) or around.left_of(box, but=boxes),
            source="glyph",
            **sides(box),
        )
        for box, checked in found
    ]


def _found(words: Sequence[PageWord], *, numbered: bool) -> Iterator[tuple[Box, bool]]:
    for at, word in enumerate(words):
        if not word.text:
            continue
        if word.text[0] in _EMPTY or word.text[0] in _TICKED:
            yield _part(word, 1), word.text[0] in _TICKED
        elif word.text[0] == "_":
            if ticked := _UNDERLINED.match(word.text):
                yield _part(word, ticked.end()), True
        elif word.text[0] in "[(":
            row = [near for near in words[at : at + _LONGEST_SPLIT + 1] if near[-2:] == word[-2:]]  # block and line
            pattern = _SQUARE if word.text[0] == "[" else _ROUND
            if (box := _bracketed(row, pattern, numbered=numbered)) is not None:
                yield box


def _bracketed(row: Sequence[PageWord], pattern: re.Pattern[str], *, numbered: bool) -> tuple[Box, bool] | None:
    """Brackets that begin with the first word and end with it or one of the next."""
    first = row[0]
    for count in range(1, min(len(row), _LONGEST_SPLIT) + 1):
        text = "".join(word.text for word in row[:count])
        if found := pattern.match(text):
            is_round = pattern is _ROUND
            after = text[found.end() :] or "".join(word.text for word in row[count : count + 1])
            if is_round and (numbered if found["tick"] else _PHONE.match(after) is not None):
                return None
            last = row[count - 1]
            end = _part(last, len(last.text) - (len(text) - found.end()))
            return (first.left, min(first.top, end[1]), end[2], max(first.bottom, end[3])), bool(found["tick"])
    return None


def _part(word: PageWord, length: int) -> Box:
    """The box of a word's first characters, were they all of one width."""
    return word.left, word.top, word.left + round((word.right - word.left) * length / len(word.text)), word.bottom
