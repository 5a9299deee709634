"""Marks on a page: boxes to be ticked, lines to be signed, initialled or filled in, fields of a form.

One detector looks at pictures, be they scans or rendered pages; a page with a text layer is rendered only where
something cheap to see, such as a square in its content or a row of underscores, says that there is something to find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from handlers.documents import marks_drawn, marks_signs
from handlers.documents.bitmap import Bitmap, bitmap
from handlers.documents.kept import kept_objects
from handlers.documents.layer import LAYER_DPI
from handlers.documents.marks_form import form_marks, widgets
from handlers.documents.marks_glyphs import glyph_marks
from handlers.documents.marks_labels import Around, sides
from handlers.documents.marks_lines import line_marks
from handlers.documents.ocr_engines import Box
from handlers.documents.recognition import Recognised
from jobqueue.errors import RejectedFile
from jobqueue.tasks import PageMark, PageText, PageWord

if TYPE_CHECKING:
    import pikepdf
    from PIL.Image import Image

MAX_MARKS: Final = 500  # of a page
_PAGE_INCHES: Final = 11.0
_MIN_DPI: Final = 90.0  # below, a box is a few pixels

Draw = Callable[[], "tuple[Image, float]"]
"""The page in grey, and the resolution it got."""


def of_scan(seen: Recognised, number: int, pdf: Path | None) -> list[PageMark]:
    """The marks of a recognised page, in pixels of its picture; a PDF may have a form over it."""
    sheet = seen.sheet
    if sheet is None or not seen.words:
        return []  # nothing without words can be told from a drawing
    placed = zip(seen.words, sheet.boxes, strict=True)
    words = [PageWord(word.text, word.start, word.confidence, *box, word.block, word.line) for word, box in placed]
    around = Around(words, unit=(sheet.dpi or max(sheet.image.size) / _PAGE_INCHES) / 72)
    drawn = _drawn(bitmap(sheet.image), around, seen.text, sure=())
    # The drawn ones first: recognition takes a box for all kinds of letters.
    upright = _merged(drawn, glyph_marks(words, around, at_most=MAX_MARKS))
    turned = [mark.model_copy(update=sides(sheet.pose.on_page(_box(mark)))) for mark in upright]
    page = _objects(pdf, number)
    found = widgets(page, at_most=MAX_MARKS) if page is not None else []
    if found:
        across, down = seen.size
        as_it_lies = [PageWord(w.text, w.start, w.confidence, *w.box, w.block, w.line) for w in seen.words]
        turned = _merged(form_marks(found, Around(as_it_lies, unit=around.unit), (across, down)), turned)
    return turned[:MAX_MARKS]


def of_layer(page: PageText, path: Path, draw: Draw) -> list[PageMark]:
    """The marks of a page with a text layer; ``draw`` renders it at `LAYER_DPI`, where there is something to find."""
    sheet = _objects(path, page.number)
    fields = widgets(sheet, at_most=MAX_MARKS) if sheet is not None else []
    drawn = marks_signs.in_text(page.text) or (sheet is not None and marks_signs.in_content(sheet, page.text))
    if not fields and not drawn and not marks_signs.in_glyphs(page.text):
        return []
    words = list(page.words)
    around = Around(words, unit=LAYER_DPI / 72)
    found = _merged(
        form_marks(fields, around, (page.width_px, page.height_px)), glyph_marks(words, around, at_most=MAX_MARKS)
    )
    if drawn:
        image, dpi = draw()
        if dpi == LAYER_DPI:  # else a poster: its boxes are not for pens
            sure = [word for word in words if word.confidence == 1]  # the layer's own, not those of pictures on it
            found = _merged(found, _drawn(bitmap(image), around, page.text, sure=sure))
    return found[:MAX_MARKS]


def _drawn(page: Bitmap, around: Around, text: str, *, sure: Sequence[PageWord]) -> list[PageMark]:
    """What is drawn, but no square with a number in it or around a letter, by the words known for sure."""
    dpi = around.unit * 72
    if dpi < _MIN_DPI:
        return []
    squares = marks_drawn.squares(page, dpi=dpi)[:MAX_MARKS]
    boxes = [square.box for square in squares]
    found = list[PageMark]()
    for square in squares:
        label = around.right_of(square.box, but=boxes) or around.left_of(square.box, but=boxes)
        if label and not _is_print(square.box, sure):
            found.append(
                PageMark(kind="checkbox", checked=square.checked, label=label, source="drawn", **sides(square.box))
            )

    def written(line: Box, others: list[Box]) -> bool | None:
        return marks_drawn.written(page, line, dpi=dpi, but=others)

    lines = line_marks(marks_drawn.lines(page, dpi=dpi)[:MAX_MARKS], around, text, written)
    blanks = [word for word in sure if "__" in word.text]
    return found + [
        line.model_copy(update={"source": "glyph"}) if any(_crosses(_box(line), word) for word in blanks) else line
        for line in lines
    ]


def _is_print(box: Box, words: Sequence[PageWord]) -> bool:
    # A single letter may stand for anything: for a cross, or for a box in a font of pictures.
    inside = [word.text for word in words if _crosses(box, word)]
    return any(map(str.isdigit, "".join(inside))) or any(sum(map(str.isalpha, text)) > 1 for text in inside)


def _crosses(box: Box, word: PageWord) -> bool:
    return word.left < box[2] and box[0] < word.right and word.top < box[3] and box[1] < word.bottom


def _merged(first: list[PageMark], second: list[PageMark]) -> list[PageMark]:
    """Both, without those of the second that are one of the first seen otherwise."""
    return first + [mark for mark in second if not any(_same(mark, other) for other in first)]


def _same(mark: PageMark, other: PageMark) -> bool:
    if mark.kind == other.kind == "checkbox":
        return mark.left < other.right and other.left < mark.right and _level(mark, other, slack=0)
    middle = (mark.left + mark.right) / 2
    # A line is the lower edge of the field that lies on it.
    return other.left <= middle <= other.right and _level(mark, other, slack=max(4, (other.bottom - other.top) // 3))


def _level(mark: PageMark, other: PageMark, *, slack: int) -> bool:
    return other.top - slack <= (mark.top + mark.bottom) / 2 <= other.bottom + slack


def _objects(path: Path | None, number: int) -> pikepdf.Page | None:
    if path is None:
        return None
    try:
        return kept_objects(path).pages[number - 1]
    except (RejectedFile, IndexError):
        return None  # the page's text, which the engine could read, is not lost over it


def _box(mark: PageMark) -> Box:
    return mark.left, mark.top, mark.right, mark.bottom
