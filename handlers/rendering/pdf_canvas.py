"""The page furniture of the PDF: "Page x of y", the disclaimer at the foot, and a creation date that is the report's.

Imports ReportLab at the top, as `handlers.rendering.pdf_layout` does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from reportlab.pdfgen.canvas import Canvas

from handlers.rendering import palette
from handlers.rendering.blocks import Outline
from handlers.rendering.fonts import REGULAR

MARGIN: Final = 54.0
FOOT: Final = 34.0  # baseline of the footer, in points from the lower edge


class _NumberedCanvas(Canvas):
    """Holds every page back until the last is known, so that each can say how many there are."""

    outline: Outline

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: list[dict[str, Any]] = []
        inner: Any = self  # ReportLab has no public way to its date, and the stubs know no private one
        _set_date(inner._doc._timeStamp, self.outline.generated_at)  # noqa: SLF001  # as said above

    def showPage(self) -> None:  # noqa: N802  # ReportLab's name
        """Keep the finished page and begin the next."""
        self._held.append(dict(self.__dict__))
        self._startPage()  # type: ignore[attr-defined]  # missing from the stubs

    def save(self) -> None:
        """Write all pages with their footers, and the file."""
        for number, page in enumerate(self._held, start=1):
            self.__dict__.update(page)
            self._footer(number, len(self._held))
            super().showPage()
        super().save()

    def _footer(self, number: int, total: int) -> None:
        width = float(self._pagesize[0])  # type: ignore[attr-defined]  # missing from the stubs
        self.setStrokeColor(palette.RULE)
        self.setLineWidth(0.5)
        self.line(MARGIN, FOOT + 12, width - MARGIN, FOOT + 12)
        self.setFillColor(palette.MUTED)
        self.setFont(REGULAR, 7.5)
        self.drawString(MARGIN, FOOT, self.outline.disclaimer)
        self.drawRightString(width - MARGIN, FOOT, f"Page {number} of {total}")


def numbered_canvas(outline: Outline) -> Callable[..., Canvas]:
    """A canvas class for this outline, as `reportlab.platypus.SimpleDocTemplate.build` takes it."""
    return type("NumberedCanvas", (_NumberedCanvas,), {"outline": outline})


def _set_date(stamp: Any, at: datetime) -> None:
    # In invariant mode ReportLab writes 1 January 2000; the report's own date is just as repeatable, and true.
    utc = at.astimezone(UTC)
    stamp.t = utc.timestamp()
    stamp.lt = utc.timetuple()
    stamp.YMDhms = tuple(stamp.lt)[:6]
