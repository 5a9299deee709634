"""The reading order of a page whose words have places, where geometry leaves no doubt about it.

The file's own order stands unless words stand beside each other on the page: many producers write a good order, and a
page of plain lines always comes out as it went in. What stands beside each other is either

- columns of print, of which each is read to its end before the next one; a line that spans them parts what is above it
  from what is below. A column is at least `_MIN_COLUMN_LINES` lines, most of which fill its width; or
- a row: cells of a table, or the parts of a form's line. It becomes one line, with a tab between the parts (a blank
  where the gap is no wider than a letter).

Line numbers in the margin, as of pleadings, come before the text that they count, not into its sentences.

Where text lies on text, runs upwards or from right to left, nothing is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter, itemgetter
from statistics import median
from typing import Final

from jobqueue.tasks import PageWord

MAX_RUNS: Final = 2_000  # a page of print has a hundred
_MIN_COLUMN_LINES: Final = 4
_MIN_FILL: Final = 0.7  # of a column's width by its median line: print has 0.9, the cells of a table less
_MIN_WORDS_A_LINE: Final = 3
_WIDE_GAP: Final = 0.8  # of a line's height, more than any blank between words
_BESIDE: Final = 0.3  # of the lower one's height is shared: two lines of dense print share a quarter
_SAME_ROW: Final = 0.5
_TELLING_LETTERS: Final = 5  # a word of them is wider than high
_MIN_NUMBERED_LINES: Final = 10
_NARROW: Final = 0.15  # of all columns' width: the numbers of a list

_BLOCK_AND_LINE: Final = itemgetter(7, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Words in one line without a gap between them; ``at`` is its place in the file's order."""

    at: int
    words: Sequence[PageWord]
    left: int
    top: int
    right: int
    bottom: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    def shares_height(self, other: _Run, part: float) -> bool:
        shared = min(self.bottom, other.bottom) - max(self.top, other.top)
        return shared > part * min(self.height, other.height)

    def shares_width(self, other: _Run) -> bool:
        slack = 0.2 * min(self.height, other.height)  # italics lean over
        return min(self.right, other.right) - max(self.left, other.left) > slack


_Row = list[_Run]


class _Unclear(Exception):
    """The geometry doesn't tell the order: the page stays as it is."""


def beside(lines: Iterable[tuple[int, int, int, int]]) -> bool:
    """Whether any of these lines (top, left, right, bottom) stand beside each other: else there is nothing to arrange.

    >>> beside([(10, 10, 60, 30), (40, 10, 60, 60)]), beside([(10, 10, 60, 30), (12, 300, 320, 32)])
    (False, True)
    """
    before, *others = sorted(lines) or [(0, 0, 0, 0)]
    for line in others:
        shared = min(line[3], before[3]) - line[0]
        if shared > _BESIDE * min(line[3] - line[0], before[3] - before[0]) and (
            line[1] >= before[2] or before[1] >= line[2]
        ):
            return True
        before = line
    return False


def arranged(text: str, words: Sequence[PageWord]) -> tuple[str, Sequence[PageWord]]:
    r"""A page's text and words in reading order; the very same where that is the file's.

    Args:
        text: the page's, lines ended by line feeds.
        words: in the text's order; words with a wide gap between them are in different lines.

    >>> price = [PageWord("Price", 0, 1.0, 10, 10, 60, 30, 0, 0), PageWord("$9", 6, 1.0, 300, 10, 320, 30, 1, 0)]
    >>> arranged("Price\n$9", price)[0]
    'Price\t$9'
    """
    try:
        runs = _runs(words)
        numbers, body = _without_line_numbers(runs)
        margin = [[[number] for number in numbers]] if numbers else []
        parts = [*margin, *_parts(body)]
        if [run.at for part in parts for row in part for run in row] == list(range(len(runs))) and all(
            len(row) == 1 for part in parts for row in part
        ):
            return text, words
        return _written(text, parts)
    except _Unclear:
        return text, words


def _runs(words: Sequence[PageWord]) -> list[_Run]:
    runs: list[_Run] = []
    for _, group in groupby(words, key=_BLOCK_AND_LINE):
        line = list(group)
        first, last = line[0], line[-1]
        run = _Run(
            at=len(runs),
            words=line,
            left=first.left,
            top=min(first.top, last.top),
            right=last.right,
            bottom=max(first.bottom, last.bottom),
        )
        level = min(first.bottom, last.bottom) > max(first.top, last.top)
        upright = len(first.text) < _TELLING_LETTERS or run.height < 1.5 * (first.right - first.left)
        if not (level and upright and first.left <= last.left):
            raise _Unclear
        runs.append(run)
    if len(runs) > MAX_RUNS:
        raise _Unclear
    return runs


_from_the_top: Final = attrgetter("top", "left")


def _beside(one: _Run, other: _Run) -> bool:
    return one.shares_height(other, _BESIDE) and not one.shares_width(other)


def _without_line_numbers(runs: Sequence[_Run]) -> tuple[list[_Run], list[_Run]]:
    """The numbers that count a page's lines of print, in its left margin, and the rest."""
    bare = [run for run in runs if len(run.words) == 1 and run.words[0].text.isdecimal()]
    rest_at = {run.at for run in runs} - {run.at for run in bare}
    edge = min((run.left for run in runs if run.at in rest_at), default=0)
    numbers = sorted((run for run in bare if run.right <= edge), key=_from_the_top)
    values = [int(run.words[0].text[:9]) for run in numbers]
    if len(values) < _MIN_NUMBERED_LINES or values != list(range(values[0], values[0] + len(values))):
        return [], list(runs)
    counted = {run.at for run in numbers}
    rest = [run for run in runs if run.at not in counted]
    return (numbers, rest) if rest and _is_print(rest) else ([], list(runs))


def _parts(runs: Iterable[_Run]) -> Iterable[list[_Row]]:
    """The page from top to bottom in parts: columns, and what is between them."""
    runs = sorted(runs, key=_from_the_top)
    plain: list[_Run] = []
    at = 0
    while at < len(runs):
        region = _around_a_gutter(runs, at)
        columns = _columns(region) if region else []
        if columns:
            if plain:
                yield _rows(plain)
                plain = []
            for column in columns:
                yield from _parts(column)
        else:
            plain += region or [runs[at]]
        at += len(region) or 1
    if plain:
        yield _rows(plain)


def _around_a_gutter(runs: Sequence[_Run], at: int) -> list[_Run]:
    """The runs from that one on, up to the first that crosses the gap between it and the next; none without a gap."""
    if at + 1 == len(runs) or not _beside(runs[at], runs[at + 1]):
        return []
    one, other = sorted(runs[at : at + 2], key=attrgetter("left"))
    low, high, gap = one.right, other.left, _WIDE_GAP * min(one.height, other.height)
    if high - low < gap:
        return []
    end = at + 2
    for run in runs[end:]:
        if run.right <= high - gap:
            low = max(low, run.right)
        elif run.left >= low + gap:
            high = min(high, run.left)
        else:
            break
        if high - low < gap:
            break
        end += 1
    return list(runs[at:end])


def _columns(region: Sequence[_Run]) -> list[list[_Run]]:
    """Its columns of print from left to right; none where any of it is something else."""
    gap = _WIDE_GAP * median(run.height for run in region)
    narrow = _NARROW * (max(run.right for run in region) - min(run.left for run in region))
    columns: list[list[_Run]] = []
    numbers: list[_Run] = []  # of the list to the right of them
    for strip in _strips(region, gap):
        if _is_print(strip):
            columns.append(numbers + strip)
            numbers = []
        elif not numbers and max(run.right for run in strip) - min(run.left for run in strip) <= narrow:
            numbers = strip
        else:
            return []
    return columns if len(columns) > 1 and not numbers else []


def _strips(region: Sequence[_Run], gap: float) -> Iterable[list[_Run]]:
    """What lies between the gaps that go through from top to bottom, from left to right."""
    strip: list[_Run] = []
    reach = 0
    for run in sorted(region, key=attrgetter("left")):
        if strip and run.left - reach >= gap:
            yield strip
            strip = []
        reach = max(reach, run.right) if strip else run.right
        strip.append(run)
    yield strip


def _is_print(strip: Sequence[_Run]) -> bool:
    width = max(run.right for run in strip) - min(run.left for run in strip)
    return (
        len(strip) >= _MIN_COLUMN_LINES
        and median(run.right - run.left for run in strip) >= _MIN_FILL * width
        and sum(len(run.words) for run in strip) >= _MIN_WORDS_A_LINE * len(strip)
    )


def _rows(runs: Sequence[_Run]) -> list[_Row]:
    """Runs of the same height as one row; the rows from top to bottom, or as in the file where that goes up and down.

    ``runs`` come from the top.
    """
    rows: list[_Row] = []
    for run in runs:
        if rows and rows[-1][0].shares_height(run, _SAME_ROW):
            if any(other.shares_width(run) for other in rows[-1]):
                raise _Unclear
            rows[-1].append(run)
        else:
            rows.append([run])
    lone = [row[0].at for row in rows if len(row) == 1]
    if lone != sorted(lone):
        rows.sort(key=lambda row: min(run.at for run in row))
    return [sorted(row, key=attrgetter("left")) for row in rows]


def _written(text: str, parts: Iterable[list[_Row]]) -> tuple[str, list[PageWord]]:
    pieces: list[str] = []
    words: list[PageWord] = []
    length, block, line = 0, -1, 0
    for part in parts:
        before: int | None = None  # the block of the line before
        for row in part:
            line, block = (line + 1, block) if row[0].words[0].block == before else (0, block + 1)
            before = row[0].words[0].block
            for separator, run in zip(_separators(row), row, strict=True):
                start, end = run.words[0].start, run.words[-1].start + len(run.words[-1].text)
                pieces += (separator if length else "", text[start:end])
                length += len(pieces[-2])
                moved = length - start
                words += [w._replace(start=w.start + moved, block=block, line=line) for w in run.words]
                length += end - start
    written = "".join(pieces)
    if len("".join(written.split())) != len("".join(text.split())) or written.count("\n") + 1 != sum(map(len, parts)):
        raise _Unclear  # something has no place on the page, and would be lost
    return written, words


def _separators(row: _Row) -> Iterable[str]:
    yield "\n"
    for one, other in pairwise(row):
        yield "\t" if other.left - one.right >= _WIDE_GAP * min(one.height, other.height) else " "
