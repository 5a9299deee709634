"""A page's ink as one integer, a bit a pixel: a shift and an ``and`` of it look at all pixels at once.

That is how strokes are found without a library for it: a page at 200 dpi has 3.7 million bits, and a shift takes a
tenth of a millisecond.
"""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

_INK_SHARE: Final = 0.35  # of the way from paper to the darkest: a hairline between two pixels is grey on both
_DARKEST_SHARE: Final = 0.002
_INKED_BYTES: Final = re.compile(rb"[^\0]+")
_INKED_BITS: Final = re.compile("1+")


class Point(NamedTuple):
    """A pixel."""

    x: int
    y: int


class Run(NamedTuple):
    """Neighbouring ink in one row, ``left`` to before ``right``."""

    row: int
    left: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitmap:
    """Which pixels of a page have ink.

    Attributes:
        image: in grey, 255 where there is ink and 0 where there is paper.
        bits: the same, row by row from the left, the first pixel in the highest bit.
        stride: bits in a row; at least eight of them, after the last pixel, are blank.
    """

    image: Image
    bits: int
    stride: int

    def runs(self, min_px: int, *, at_most: int) -> list[Run]:
        """The horizontal strokes of at least that length, from the top; none where there are more than ``at_most``.

        A single missing pixel doesn't part a stroke, and neither does a step to the next row, as in a line that is a
        little askew: each row is looked at together with the one above it.

        >>> from PIL import Image, ImageDraw
        >>> page = Image.new("L", (60, 20), 255)
        >>> ImageDraw.Draw(page).line((10, 5, 49, 5), fill=0)
        >>> bitmap(page).runs(30, at_most=10)
        [Run(row=5, left=10, right=50), Run(row=6, left=10, right=50)]
        """
        bits = self.bits | self.bits >> self.stride
        bits |= bits >> 1 & bits << 1
        found = list(islice(self._read(_opened(bits, min_px)), at_most + 1))
        return found if len(found) <= at_most else []

    def corners(self, side_px: int, *, at_most: int) -> tuple[list[Point], list[Point]]:
        """Where two strokes of at least that length meet at a right angle: top left corners, and bottom right ones.

        A corner may be told more than once, in rows next to each other: strokes are thick, and looked at as `runs` are.
        Both lists are empty where there are more than ``at_most`` of either.

        >>> from PIL import Image, ImageDraw
        >>> page = Image.new("L", (60, 60), 255)
        >>> ImageDraw.Draw(page).rectangle((10, 10, 40, 40), outline=0)
        >>> bitmap(page).corners(20, at_most=10)
        ([Point(x=10, y=10), Point(x=10, y=11)], [Point(x=40, y=40)])
        """
        across = self.bits | self.bits >> self.stride  # a side may step to the next row, or column, once
        down = self.bits | self.bits >> 1
        across |= across >> 1 & across << 1
        down |= down >> self.stride & down << self.stride
        begin = _reaching(across, side_px, 1) & _reaching(down, side_px, self.stride)
        end = _reaching(across, side_px, -1) & _reaching(down, side_px, -self.stride)
        upper = [Point(run.left, run.row) for run in islice(self._read(begin & self.bits), at_most + 1)]
        lower = [Point(run.right - 1, run.row) for run in islice(self._read(end & self.bits), at_most + 1)]
        return (upper, lower) if max(len(upper), len(lower)) <= at_most else ([], [])

    def _read(self, bits: int) -> Iterator[Run]:
        row_bytes = self.stride // 8
        for inked in _INKED_BYTES.finditer(bits.to_bytes(row_bytes * self.image.height, "big")):
            row, column = divmod(inked.start(), row_bytes)
            # A one before them keeps the zeros at their beginning.
            for run in _INKED_BITS.finditer(bin(int.from_bytes(b"\x01" + inked[0], "big"))[3:]):
                yield Run(row, 8 * column + run.start(), 8 * column + run.end())


def bitmap(image: Image) -> Bitmap:
    """Ink and paper of a grey page, told apart by the page's own brightness; noise of single pixels stays in."""
    from PIL import Image as Pillow

    histogram = image.histogram()
    pixels = image.width * image.height
    paper, darkest = _percentile(histogram, pixels // 2), _percentile(histogram, int(pixels * _DARKEST_SHARE))
    threshold = paper - _INK_SHARE * (paper - darkest)
    ink = image.point([255 if value < threshold else 0 for value in range(256)])
    stride = (image.width // 8 + 2) * 8
    # Beyond the picture's edge, cropping gives zeros: the blanks at the end of each row.
    packed = ink.convert("1", dither=Pillow.Dither.NONE).crop((0, 0, stride, image.height)).tobytes()
    return Bitmap(image=ink, bits=int.from_bytes(packed, "big"), stride=stride)


def _percentile(histogram: list[int], rank: int) -> int:
    for value, count in enumerate(histogram):
        rank -= count
        if rank < 0:
            return value
    return 255


def _opened(bits: int, length: int) -> int:
    """Only what belongs to ``length`` neighbouring ones (morphological opening)."""
    kept, reach = _reaching(bits, length, -1), 1
    while reach < length:
        step = min(reach, length - reach)
        kept |= kept << step
        reach += step
    return kept


def _reaching(bits: int, length: int, step: int) -> int:
    """The ones from which ``length`` ones follow, ``step`` bits apart, to the lower bits or (below 0) the higher ones.

    The distance looked at doubles each time round.
    """
    reach = 1
    while reach < length:
        more = min(reach, length - reach)
        bits &= bits << more * step if step > 0 else bits >> -more * step
        reach += more
    return bits
