"""What both PDF engines say and reckon alike: refusals, metadata, places on a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from handlers.documents.cleaning import clean_line, iso_date
from jobqueue.errors import RejectedFile

POINTS_PER_INCH: Final = 72.0
_METADATA_KEYS: Final[tuple[str, ...]] = ("title", "author", "subject", "keywords", "creator", "producer")
_METADATA_DATES: Final = {"creationdate": "created", "moddate": "modified"}

Box = tuple[float, float, float, float]


def fitting_dpi(width_pt: float, height_pt: float, *, dpi: float, max_pixels: int) -> float:
    """The highest resolution up to ``dpi`` at which a page of that size has at most ``max_pixels``.

    >>> fitting_dpi(612, 792, dpi=300, max_pixels=25_000_000)
    300
    >>> round(fitting_dpi(6120, 7920, dpi=300, max_pixels=25_000_000))
    52
    """
    # The engines round each side up to whole pixels: solve (width * r + 1) * (height * r + 1) = max_pixels for r.
    width, height = width_pt / POINTS_PER_INCH, height_pt / POINTS_PER_INCH
    root = math.sqrt((width + height) ** 2 + 4 * width * height * (max_pixels - 1))
    return min(dpi, 2 * (max_pixels - 1) / (width + height + root))


def no_pages(file_name: str) -> RejectedFile:
    """The answer to a PDF without a page, whoever notices it."""
    return RejectedFile(f"{file_name} has no pages: export it again and upload that")


def needs_password(file_name: str) -> RejectedFile:
    """The answer to a PDF that doesn't open without one."""
    return RejectedFile(f"{file_name} is protected by a password: remove the password and upload it again")


def unreadable(file_name: str, exc: Exception) -> RejectedFile:
    """The answer to a PDF that doesn't open."""
    reason = clean_line(str(exc), max_chars=200)
    return RejectedFile(
        f"{file_name} is damaged and can't be opened as a PDF ({reason}): export it again and upload that"
    )


def metadata_of(raw: dict[str, Any]) -> dict[str, str]:
    """An info dictionary, cleaned: what there is of `PdfDocument.metadata`."""
    given = {key.lower(): str(value) for key, value in raw.items() if value}
    found = {key: clean_line(given[key]) for key in _METADATA_KEYS if key in given}
    found |= {name: iso_date(given[key]) for key, name in _METADATA_DATES.items() if key in given}
    return {key: value for key, value in found.items() if value}


def share(picture: Box, page: Box) -> float:
    """The part of the page's area under the picture; both as left, low, right, high."""
    across = max(0.0, min(picture[2], page[2]) - max(picture[0], page[0]))
    down = max(0.0, min(picture[3], page[3]) - max(picture[1], page[1]))
    return across * down / ((page[2] - page[0]) * (page[3] - page[1]))


def rendered(box: Box, sheet: Box, rotation: int) -> Box:
    """A box of the sheet (left, low, right, high, in points) as it is rendered (left, top, right, bottom, in parts)."""
    width, height = sheet[2] - sheet[0], sheet[3] - sheet[1]
    left, right = (box[0] - sheet[0]) / width, (box[2] - sheet[0]) / width
    top, bottom = (sheet[3] - box[3]) / height, (sheet[3] - box[1]) / height
    for _ in range(rotation // 90):  # clockwise
        left, top, right, bottom = 1 - bottom, left, 1 - top, right
    return left, top, right, bottom


def largest_dpi(pictures: Iterable[tuple[Box, tuple[int, int]]]) -> float | None:
    """The resolution of the picture with the largest box; either may be on its side, so areas are compared."""
    area, pixels = max(
        (((box[2] - box[0]) * (box[3] - box[1]), size[0] * size[1]) for box, size in pictures), default=(0.0, 0)
    )
    return POINTS_PER_INCH * math.sqrt(pixels / area) if area > 0 and pixels > 0 else None


@contextmanager
def reading(number: int) -> Iterator[None]:
    """Whatever an engine raises over a page's bytes is that page's fault; the engines name no classes for it."""
    try:
        yield
    except MemoryError:  # the sandbox's limit, which it reports itself
        raise
    except Exception as exc:
        raise RejectedFile(
            f"page {number} is damaged and can't be read ({clean_line(str(exc), max_chars=200)})"
        ) from exc
