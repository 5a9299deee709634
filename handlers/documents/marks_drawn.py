"""Check boxes and lines to write on, as they are drawn on a page: in its picture, be it a scan or a rendered PDF."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from handlers.documents.bitmap import Bitmap, Point, Run
from handlers.documents.ocr_engines import Box

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_RUNS: Final = 20_000  # a photograph has no boxes to be ticked
_MAX_CORNERS: Final = 3_000
_SIDE_POINTS: Final = (6.0, 17.0)  # small letters in print of 11 points are 5.8 high
_SQUARE: Final = 0.72  # the short side to the long one
_REACH: Final = 0.4  # of a side, beyond its corners
_OFF_POINTS: Final = 0.65
_BESIDE: Final = 0.4  # just outside: in a bold letter, the rest of its stroke
_COVERED: Final = 0.92  # of a closed border: the letter D has two round corners
_SOLID: Final = 0.75
_BLANK_SHARE: Final = 0.02
_CHECKED_SHARE: Final = 0.07  # a thin tick covers a tenth of its box
_LINE_POINTS: Final = 18.0
_LINE_SHARE: Final = 0.6  # of the page's width: longer ones part sections
_THICK_POINTS: Final = 2.2
_GAP_POINTS: Final = 2.0
_WRITING_POINTS: Final = 9.0  # above a line
_BLANK_INK: Final = 1.5  # square points of ink: a speck
_WRITTEN_INK: Final = 5.0  # two typed letters have ten
_SOME: Final = 40  # of 255: one pixel of up to six


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """A box to be ticked; ``checked`` is None where it can't be told whether it is."""

    box: Box
    checked: bool | None


@dataclass(slots=True)
class _Stroke:
    left: int
    top: int
    right: int
    bottom: int
    area: int

    @property
    def box(self) -> Box:
        return self.left, self.top, self.right, self.bottom


def squares(page: Bitmap, *, dpi: float) -> list[Square]:
    """The empty and ticked boxes of 6 to 16 points with a closed border, but not the cells of tables, from the top.

    >>> from PIL import Image, ImageDraw
    >>> from handlers.documents.bitmap import bitmap
    >>> sheet = Image.new("L", (400, 300), 255)
    >>> draw = ImageDraw.Draw(sheet)
    >>> draw.rectangle((50, 50, 75, 75), outline=0), draw.rectangle((50, 100, 75, 125), outline=0)
    (None, None)
    >>> draw.line((50, 100, 75, 125), fill=0, width=2)
    >>> [found.checked for found in squares(bitmap(sheet), dpi=200)]
    [False, True]
    """
    unit = dpi / 72
    upper, lower = page.corners(round(_SIDE_POINTS[0] * unit) - 1, at_most=_MAX_CORNERS)
    boxes = list[Box]()
    for corner, facing in _facing(upper, lower, round(_SIDE_POINTS[1] * unit)):
        if any(abs(corner.x - box[0]) <= unit and abs(corner.y - box[1]) <= unit for box in boxes):
            continue  # a border of three pixels has each corner in three rows
        whole = ((*corner, *other) for other in facing if _closed(page.image, (*corner, *other), unit))
        boxes += islice(whole, 1)
    found = [
        Square(box=box, checked=_ticked(share)) for box in _alone(boxes) if (share := _inside(page, box, unit)) < _SOLID
    ]
    return sorted(found, key=lambda square: (square.box[1], square.box[0]))


def lines(page: Bitmap, *, dpi: float) -> list[Box]:
    """The thin level lines long enough to be written on, from the top; not those of tables and boxes.

    Lines are followed through the steps that a little skew makes, and over small gaps.
    """
    unit = dpi / 72
    strokes = _followed(page.runs(round(_LINE_POINTS * unit), at_most=_MAX_RUNS), gap=round(_GAP_POINTS * unit))
    return [
        stroke.box
        for stroke in strokes
        if stroke.area <= (_THICK_POINTS * unit + 1) * (stroke.right - stroke.left)
        and stroke.right - stroke.left <= _LINE_SHARE * page.image.width
        and not _framed(page.image, stroke.box, unit)
    ]


def written(page: Bitmap, line: Box, *, dpi: float, but: Iterable[Box]) -> bool | None:
    """Whether something stands on the line; None where there is too little ink to tell.

    Args:
        page: the page that the line is on.
        line: as `lines` gave it.
        dpi: of the page.
        but: boxes that have nothing to do with it, such as the words of the row above.
    """
    unit = dpi / 72
    left, right = line[0] + round(unit), line[2] - round(unit)
    top, bottom = max(0, line[1] - round(_WRITING_POINTS * unit)), line[1] - max(1, round(0.3 * unit))
    if bottom <= top or right <= left:
        return None
    above = page.image.crop((left, top, right, bottom))
    for box in but:
        above.paste(0, (box[0] - left, box[1] - top, box[2] - left, box[3] - top))
    ink = _without_specks(above).histogram()[255] / unit**2
    return True if ink >= _WRITTEN_INK else False if ink <= _BLANK_INK else None


def _followed(runs: list[Run], *, gap: int) -> list[_Stroke]:
    """Runs that touch from row to row, or almost in the same row, as one line."""
    done, growing = list[_Stroke](), list[_Stroke]()
    for run in runs:
        growing = [stroke for stroke in growing if stroke.bottom >= run.row]
        near = [one for one in growing if one.left - gap <= run.right and run.left <= one.right + gap]
        if near:
            stroke, *others = near
            for other in others:
                stroke.left, stroke.right = min(stroke.left, other.left), max(stroke.right, other.right)
                stroke.top, stroke.area = min(stroke.top, other.top), stroke.area + other.area
                growing.remove(other)
                done.remove(other)
        else:
            stroke = _Stroke(run.left, run.row, run.right, run.row, 0)
            growing.append(stroke)
            done.append(stroke)
        stroke.left, stroke.right = min(stroke.left, run.left), max(stroke.right, run.right)
        stroke.bottom, stroke.area = run.row + 1, stroke.area + run.right - run.left
    return done


def _facing(upper: list[Point], lower: list[Point], longest: int) -> Iterator[tuple[Point, list[Point]]]:
    """Each top left corner with the bottom right ones that would make it a square, the nearest first."""
    by_diagonal = defaultdict[int, list[Point]](list)
    for corner in lower:
        by_diagonal[(corner.x - corner.y) // longest].append(corner)
    for corner in upper:
        diagonal = (corner.x - corner.y) // longest
        yield (
            corner,
            [
                other
                for near in (diagonal - 1, diagonal, diagonal + 1)
                for other in by_diagonal[near]
                if 0 < (width := other.x - corner.x) <= longest
                and 0 < (height := other.y - corner.y) <= longest
                and min(width, height) >= _SQUARE * max(width, height)
            ],
        )


def _closed(image: Image, box: Box, unit: float) -> bool:
    """Whether all four sides are drawn, straight, and most of them end at the box's corners."""
    from PIL import Image as Pillow

    left, top, right, bottom = box
    if min(right - left, bottom - top) < _SIDE_POINTS[0] * unit - 1:
        return False
    reach, off = max(3, round(_REACH * (bottom - top))), max(2, round(_OFF_POINTS * unit))
    upright = _sides_on(image, (left, right), (top, bottom), reach, off)
    if upright is None:
        return False
    turned = image.crop((left - reach, top - reach, right + reach + 1, bottom + reach + 1))
    turned = turned.transpose(Pillow.Transpose.TRANSPOSE)
    level = _sides_on(turned, (reach, reach + bottom - top), (reach, reach + right - left), reach, off)
    return level is not None and upright + level <= 1  # the sides of a table's cell go on


def _sides_on(image: Image, sides: tuple[int, int], rows: tuple[int, int], reach: int, off: int) -> int | None:
    """How often two upright sides go on beyond their ends; None where one isn't closed, or has ink along it outside."""
    longer, (start, end) = 0, rows
    for side, inwards in zip(sides, (1, -1), strict=True):
        if _straight(image, side, inwards, (start, end + 1)) < _COVERED:
            return None
        outside = side - off * inwards
        if _covered(image, (outside, outside + 1, start, end + 1)) > _BESIDE:
            return None
        longer += _straight(image, side, inwards, (start - reach, start - 1)) >= _COVERED
        longer += _straight(image, side, inwards, (end + 2, end + 1 + reach)) >= _COVERED
    return longer


def _straight(image: Image, column: int, inwards: int, rows: tuple[int, int]) -> float:
    """The share of rows with ink in the best two columns next to each other, of those around ``column``."""
    return max(_covered(image, (at, at + 2, *rows)) for at in (column - 1, column, column + inwards))


def _covered(image: Image, span: tuple[int, int, int, int]) -> float:
    """The share of rows with ink in a narrow column: left, right, top, bottom."""
    left, right, top, bottom = span
    rows = image.crop((left, top, right, bottom)).reduce((right - left, 1)).tobytes()
    return sum(row >= _SOME for row in rows) / len(rows)


def _inside(page: Bitmap, box: Box, unit: float) -> float:
    """The share of ink within the border."""
    left, top, right, bottom = box
    inset = max(2, round(0.75 * unit), round(0.16 * (bottom - top)))
    within = page.image.crop((left + inset, top + inset, right - inset, bottom - inset))
    return within.histogram()[255] / (within.width * within.height)


def _ticked(share: float) -> bool | None:
    return True if share >= _CHECKED_SHARE else False if share <= _BLANK_SHARE else None


def _alone(boxes: list[Box]) -> list[Box]:
    """Without boxes found twice, by either edge of their border, and without nested ones: those are a picture."""
    whole = list[Box]()
    for box in sorted(boxes, key=lambda one: (one[2] - one[0]) * (one[3] - one[1]), reverse=True):
        if not any(_within(box, other) and 3 * (box[2] - box[0]) > 2 * (other[2] - other[0]) for other in whole):
            whole.append(box)
    return [box for box in whole if not any(one != box and (_within(one, box) or _within(box, one)) for one in whole)]


def _within(box: Box, other: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return other[0] <= x <= other[2] and other[1] <= y <= other[3]


def _framed(image: Image, line: Box, unit: float) -> bool:
    """Whether upright lines stand at both of its ends, as in a table."""
    reach, width = round(7 * unit), max(4, round(unit * 1.5))
    parts = [(line[1] - reach, line[1] - 1), (line[3] + 1, line[3] + reach)]
    ends = [(line[0] - 2, line[0] - 2 + width), (line[2] + 2 - width, line[2] + 2)]
    return all(any(_covered(image, (*end, *part)) >= _COVERED for part in parts) for end in ends)


def _without_specks(image: Image) -> Image:
    """Without the ink that has no other beside it, above or below."""
    from PIL import ImageChops, ImageFilter

    # The mean of nine pixels, one of them inked, is 28.
    around = image.filter(ImageFilter.BoxBlur(1)).point([255 if mean > _SOME else 0 for mean in range(256)])
    return ImageChops.darker(image, around)
