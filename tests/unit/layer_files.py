"""PDFs whose words stand in every way on the page: columns, tables, forms, turned sheets."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

from reportlab.lib.pagesizes import letter
from reportlab.pdfgen.canvas import Canvas

from handlers.documents.sample_text import AGREEMENT

WORDS = " ".join(AGREEMENT.replace("|", " ").replace("#", " ").split()).split(" ")
HEADING = "RESIDENTIAL PURCHASE AND SALE AGREEMENT OF THE COUNTY"
CLOSING = (
    "Both parties have read all of the above and agree to every word of it, each for itself and without reservation."
)
TABLE = [
    ["Item", "Description", "Qty", "Price"],
    ["1", "Roof repair", "2", "$400.00"],
    ["2", "Chimney sweep", "1", "$90.00"],
    ["3", "New water heater", "1", "$1,200.00"],
]


def drawn(draw: Callable[[Canvas], None], *, size: tuple[float, float] = letter, turned: int = 0) -> bytes:
    """A PDF of one page."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=size, invariant=1)
    canvas.setFont("Helvetica", 9)
    if turned:
        canvas.setPageRotation(turned)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def at_places(*texts: tuple[float, float, str]) -> bytes:
    """A PDF with these texts at these places, drawn in this order."""

    def draw(canvas: Canvas) -> None:
        for x, y, text in texts:
            canvas.drawString(x, y, text)

    return drawn(draw)


def column_lines(columns: int, lines: int, width: float) -> list[list[str]]:
    """Lines of print for each column, as full as fits."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    words = iter(WORDS * 3)
    found = []
    for _ in range(columns * lines):
        line = next(words)
        while stringWidth(f"{line} {(word := next(words))}", "Helvetica", 9) <= width:
            line += f" {word}"
        words = iter([word, *words])
        found.append(line)
    return [found[at : at + lines] for at in range(0, len(found), lines)]


def columns_pdf(columns: list[list[str]], *, pitch: float, across: float, lag: float = 0.0) -> bytes:
    """A heading, columns drawn line by line across the page, and a line below them; each column ``lag`` lower."""

    def draw(canvas: Canvas) -> None:
        canvas.drawString(120, 750, HEADING)
        for row, lines in enumerate(zip(*columns, strict=True)):
            for column, line in enumerate(lines):
                canvas.drawString(50 + across * column, 700 - pitch * row - lag * column, line)
        canvas.drawString(50, 400, CLOSING)

    return drawn(draw)


def table_pdf(rows: list[list[str]], *, by_column: bool) -> bytes:
    """A table between two lines of print, drawn row by row or column by column."""
    cells: Iterable[tuple[int, int]] = [(row, column) for row in range(len(rows)) for column in range(len(rows[0]))]
    if by_column:
        cells = sorted(cells, key=lambda cell: cell[::-1])
    places = (50, 120, 300, 420)
    return at_places(
        (50, 720, "Repairs to be made before closing by the seller:"),
        *((places[column], 700 - 14 * row, rows[row][column]) for row, column in cells),
        (50, 600, "All repairs are made by licensed contractors."),
    )
