"""The words around a mark, which say what it is for."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from handlers.documents.ocr_engines import Box
from jobqueue.tasks import PageWord

MAX_LABEL_CHARS: Final = 80
_MAX_LABEL_WORDS: Final = 12
_BLANKS: Final = re.compile("_{2,}")
_FIRST_GAP_POINTS: Final = 20.0
_GAP_POINTS: Final = 10.0  # wider than between words: another column
_UNDER_POINTS: Final = 15.0  # the row under a line, in print of up to 12 points
_SAME_ROW_POINTS: Final = 4.0


class Around:
    """A page's words, to be asked for by place. ``unit`` is pixels in a point."""

    def __init__(self, words: Iterable[PageWord], *, unit: float) -> None:
        self.unit = unit
        self._words = sorted((part for word in words for part in _lettered(word)), key=_middle)
        self._middles = [_middle(word) for word in self._words]

    def rows(self, top: float, bottom: float) -> list[PageWord]:
        """The words whose middle lies between those heights, from the left."""
        begin, end = bisect_left(self._middles, top), bisect_right(self._middles, bottom)
        return sorted(self._words[begin:end], key=lambda word: word.left)

    def right_of(self, box: Box, *, but: Collection[Box] = ()) -> str:
        """What stands right of a box, in its row and up to the next of the boxes in ``but``."""
        row = self._row_of(box)
        stop = min((other[0] for other in but if other[0] >= box[2] and _beside(box, other)), default=None)
        beyond = [
            _after(word, box[2], slack=self.unit)
            for word in row
            if word.left + word.right >= 2 * box[2] and (stop is None or word.right <= stop + 2)
        ]
        return _phrase(self._joined(box[2], beyond))

    def left_of(self, box: Box, *, but: Collection[Box] = ()) -> str:
        """What stands left of a box, in its row and from the next of the boxes in ``but`` on."""
        return _phrase(reversed(list(self._before(box, but))))

    def touching_left(self, box: Box, *, but: Collection[Box] = ()) -> bool:
        """Whether there is a word right before the box."""
        return any(True for _ in self._before(box, but))

    def under(self, box: Box) -> str:
        """What stands in the row under a line, within its ends."""
        slack = 6 * self.unit
        near = self.rows(box[3] + self.unit, box[3] + _UNDER_POINTS * self.unit)
        within = [word for word in near if box[0] - slack <= (word.left + word.right) / 2 <= box[2] + slack]
        if not within:
            return ""
        first = min(_middle(word) for word in within)
        return _phrase(word for word in within if _middle(word) <= first + _SAME_ROW_POINTS * self.unit)

    def standing_on(self, line: Box) -> list[PageWord]:
        """The words written on a line."""
        row = self.rows(line[1] - 9 * self.unit, line[1] - self.unit)
        return [word for word in row if line[0] <= (word.left + word.right) / 2 <= line[2]]

    def _before(self, box: Box, but: Collection[Box]) -> Iterator[PageWord]:
        stop = max((other[2] for other in but if other[2] <= box[0] and _beside(box, other)), default=0)
        row = [word for word in self._row_of(box) if stop - 2 <= word.left and word.right <= box[0] + 2 * self.unit]
        edge, gap = float(box[0]), _FIRST_GAP_POINTS
        for word in reversed(row):
            if edge - word.right > gap * self.unit:
                return
            yield word
            edge, gap = word.left, _GAP_POINTS

    def _joined(self, edge: float, row: list[PageWord]) -> Iterator[PageWord]:
        gap = _FIRST_GAP_POINTS
        for word in row:
            if word.left - edge > gap * self.unit:
                return
            yield word
            edge, gap = word.right, _GAP_POINTS

    def _row_of(self, box: Box) -> list[PageWord]:
        # Of a line, which has hardly a height: what stands on it, not what hangs below it.
        low, high = (box[1], box[3]) if box[3] - box[1] > 5 * self.unit else (box[1] - 9 * self.unit, box[3])
        return self.rows(low, high)


def sides(box: Box) -> dict[str, Any]:
    """A box as the fields of `PageMark`."""
    return {"left": box[0], "top": box[1], "right": box[2], "bottom": box[3]}


def _lettered(word: PageWord) -> Iterator[PageWord]:
    """The parts of a word between blanks to be filled in, without what has neither letter nor digit."""
    share = (word.right - word.left) / max(1, len(word.text))
    at = 0
    for blank in [*_BLANKS.finditer(word.text), None]:
        end = len(word.text) if blank is None else blank.start()
        if any(map(str.isalnum, word.text[at:end])):
            left, right = round(word.left + at * share), round(word.left + end * share)
            yield word._replace(text=word.text[at:end], start=word.start + at, left=left, right=right)
        at = end if blank is None else blank.end()


def _after(word: PageWord, edge: int, *, slack: float) -> PageWord:
    """What of a word stands beyond a box's edge: a box close to a word is read as its first letter, or two."""
    over = edge - word.left
    if over <= slack:
        return word
    letters = int(over * len(word.text) / (word.right - word.left) + 0.7)
    return word._replace(text=word.text[letters:].lstrip("[]|()!"), start=word.start + letters, left=edge)


def _middle(word: PageWord) -> float:
    return (word.top + word.bottom) / 2


def _beside(box: Box, other: Box) -> bool:
    return min(box[3], other[3]) + 6 >= max(box[1], other[1])


def _phrase(words: Iterable[PageWord]) -> str:
    text = " ".join(word.text for word, _ in zip(words, range(_MAX_LABEL_WORDS), strict=False))
    return text[:MAX_LABEL_CHARS].strip(" :;,.|-_")
