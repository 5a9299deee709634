"""The layout of the DOCX: styles, tables, and which block is set how.

Imports python-docx at the top, so it is imported by `handlers.rendering.word` alone, inside its function.
"""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import docx
from docx.enum.style import WD_STYLE_TYPE
from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_TAB_ALIGNMENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Pt, RGBColor
from docx.styles.style import ParagraphStyle
from docx.table import _Cell
from docx.text.paragraph import Paragraph as Setter

from handlers.rendering import palette
from handlers.rendering.bidi import starts_rtl
from handlers.rendering.blocks import Block, Bullets, Callout, Column, Outline, Paragraph, Table

FONT: Final = "Calibri"
PAGE: Final = (Pt(612), Pt(792))  # US Letter
MARGIN: Final = Pt(54)
WIDTH: Final = 612 - 2 * 54  # in points
TWENTIETHS: Final = 20  # Word measures tables in twentieths of a point


def write_docx(outline: Outline, out_path: str) -> None:
    """Write the outline to ``out_path``."""
    document = docx.Document()
    _set_page(document, outline)
    _set_styles(document)
    _set_properties(document, outline)
    _cover(document, outline)
    for section in outline.sections:
        document.add_paragraph(section.heading, "Heading 1")
        for block in section.blocks:
            _add(document, block)
    data = io.BytesIO()
    document.save(data)
    Path(out_path).write_bytes(_repacked(data, outline.generated_at))


def _add(document: Any, block: Block) -> None:
    match block:
        case Paragraph():
            _fill(document.add_paragraph(style="Normal" if block.style == "body" else "Note"), block.text)
        case Bullets():
            for item in block.items:
                _fill(document.add_paragraph(style="List Bullet"), item)
        case Table():
            _table(document, block)
        case Callout():
            _callout(document, block)


def _cover(document: Any, outline: Outline) -> None:
    document.add_paragraph(outline.kicker.upper(), "Kicker")
    _fill(document.add_paragraph(style="Title"), outline.title)
    grid = _grid(document, len(outline.cover), (0.22 * WIDTH, 0.78 * WIDTH))
    for row, (label, value) in zip(grid.rows, outline.cover, strict=True):
        cells = row.cells
        _set_cell(cells[0], label, "Label")
        _set_cell(cells[1], value, "Cell")


def _table(document: Any, table: Table) -> None:
    grid = _grid(document, len(table.rows) + 1, tuple(column.share * WIDTH for column in table.columns))
    head, *body = grid.rows
    _mark(head._tr.get_or_add_trPr(), "w:tblHeader")  # noqa: SLF001  # python-docx has no public way to repeat a header
    for cell, column in zip(head.cells, table.columns, strict=True):
        _set_cell(cell, column.title, "Cell Head", number=column.style == "number")
        _shade(cell, palette.SHADE)
        _border(cell, "bottom", palette.ACCENT, eighths=6)
    for row, values in zip(body, table.rows, strict=True):
        for cell, value, column in zip(row.cells, values, table.columns, strict=True):
            _set_cell(cell, value, _cell_style(column, value), number=column.style == "number")
            _border(cell, "bottom", palette.RULE, eighths=4)
    document.add_paragraph(style="Gap")


def _callout(document: Any, callout: Callout) -> None:
    tone = palette.TONES[callout.severity]
    cell = _grid(document, 1, (WIDTH,)).rows[0].cells[0]
    _shade(cell, palette.SHADE)
    _border(cell, "left", tone, eighths=24)
    _set_cell(cell, callout.label, "Cell Strong")
    cell.paragraphs[0].runs[0].font.color.rgb = RGBColor.from_string(tone[1:])
    for text, style in ((callout.title, "Cell Strong"), (callout.text, "Cell"), (callout.quote, "Cell Quote")):
        if text:
            _fill(cell.add_paragraph(style=style), text)
    document.add_paragraph(style="Gap")


# ── cells and paragraphs ─────────────────────────────────────────────────────────────────────────────────────────


def _grid(document: Any, rows: int, widths_pt: tuple[float, ...]) -> Any:
    grid = document.add_table(rows=rows, cols=len(widths_pt))
    grid.autofit = False  # a word of 300 letters breaks instead of widening its column past the page
    for column, width in zip(grid.columns, widths_pt, strict=True):
        column.width = Pt(width)
    for row in grid.rows:
        _mark(row._tr.get_or_add_trPr(), "w:cantSplit")  # noqa: SLF001  # python-docx has no public way to hold a row together
        for cell, width in zip(row.cells, widths_pt, strict=True):
            cell.width = Pt(width)
    return grid


def _set_cell(cell: _Cell, text: str, style: str, *, number: bool = False) -> None:
    paragraph = cell.paragraphs[0]
    paragraph.style = style
    _fill(paragraph, text)
    if number:
        paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT


def _fill(paragraph: Setter, text: str) -> None:
    run = paragraph.add_run(text)
    if starts_rtl(text):
        _mark(paragraph._p.get_or_add_pPr(), "w:bidi")  # noqa: SLF001  # python-docx has no public way to a paragraph's direction
        run.font.rtl = True


def _cell_style(column: Column, value: str) -> str:
    if value == column.alert:
        return "Cell Alert"
    return {"text": "Cell", "strong": "Cell Strong", "number": "Cell", "quote": "Cell Quote"}[column.style]


# ── the document as a whole ──────────────────────────────────────────────────────────────────────────────────────


def _set_page(document: Any, outline: Outline) -> None:
    section = document.sections[0]
    section.page_width, section.page_height = PAGE
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = MARGIN
    document.styles["Footer"].paragraph_format.tab_stops.clear_all()
    footer = section.footer.paragraphs[0]
    footer.paragraph_format.tab_stops.add_tab_stop(Pt(WIDTH), WD_TAB_ALIGNMENT.RIGHT)
    footer.add_run(f"{outline.disclaimer}\tPage ")
    _field(footer, "PAGE")
    footer.add_run(" of ")
    _field(footer, "NUMPAGES")


def _set_styles(document: Any) -> None:
    styles = document.styles
    _look(styles["Normal"], 10, after=5)
    _look(styles["Title"], 20, bold=True, after=8)
    _look(styles["Heading 1"], 14, bold=True, color=palette.ACCENT, before=14, after=5)
    _look(styles["List Bullet"], 10, after=2)
    _look(styles["Footer"], 8, color=palette.MUTED)
    own: dict[str, dict[str, Any]] = {
        "Kicker": {"size": 8.5, "bold": True, "color": palette.ACCENT, "after": 2},
        "Note": {"size": 8.5, "color": palette.MUTED, "after": 5},
        "Label": {"size": 9, "color": palette.MUTED, "before": 2, "after": 2},
        "Cell": {"size": 9, "before": 2, "after": 2},
        "Cell Head": {"size": 8.5, "bold": True, "color": palette.ACCENT, "before": 2, "after": 2},
        "Cell Strong": {"size": 9, "bold": True, "before": 2, "after": 2},
        "Cell Alert": {"size": 9, "bold": True, "color": palette.ALERT, "before": 2, "after": 2},
        "Cell Quote": {"size": 8.5, "color": palette.MUTED, "before": 2, "after": 2},
        "Gap": {"size": 4},
    }
    for name, looks in own.items():
        style = styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
        style.base_style = styles["Normal"]
        _look(style, **looks)


def _look(
    style: ParagraphStyle,
    size: float,
    *,
    bold: bool = False,
    color: str = palette.INK,
    before: float = 0,
    after: float = 0,
) -> None:
    font, paragraph = style.font, style.paragraph_format
    font.name, font.size, font.bold, font.color.rgb = FONT, Pt(size), bold, RGBColor.from_string(color[1:])
    fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
    # The template's headings name theme fonts, which win over a font named in plain.
    for name in ("asciiTheme", "hAnsiTheme", "eastAsiaTheme", "cstheme"):
        fonts.attrib.pop(qn(f"w:{name}"), None)
    for name in ("ascii", "hAnsi", "cs"):
        fonts.set(qn(f"w:{name}"), FONT)
    paragraph.space_before, paragraph.space_after, paragraph.line_spacing = Pt(before), Pt(after), 1.1
    for border in style.element.get_or_add_pPr().findall(qn("w:pBdr")):
        border.getparent().remove(border)  # the template rules a line of its own under the title


def _set_properties(document: Any, outline: Outline) -> None:
    properties = document.core_properties
    at = outline.generated_at.astimezone(UTC).replace(tzinfo=None)  # python-docx wants UTC, and takes it without a zone
    properties.title, properties.subject, properties.author = outline.title, outline.kicker, "jobqueue"
    properties.comments, properties.last_modified_by = outline.disclaimer, "jobqueue"
    properties.created = properties.modified = at


# ── WordprocessingML that python-docx has no words for ───────────────────────────────────────────────────────────


def _element(tag: str, **attributes: str) -> Any:
    element = OxmlElement(tag)
    for name, value in attributes.items():
        element.set(qn(f"w:{name}"), value)
    return element


def _mark(parent: Any, tag: str) -> None:
    parent.append(_element(tag))


def _shade(cell: _Cell, color: str) -> None:
    cell._tc.get_or_add_tcPr().append(_element("w:shd", val="clear", color="auto", fill=color[1:]))  # noqa: SLF001  # as the heading says


def _border(cell: _Cell, side: str, color: str, *, eighths: int) -> None:
    borders = _element("w:tcBorders")
    borders.append(_element(f"w:{side}", val="single", sz=str(eighths), space="0", color=color[1:]))
    properties = cell._tc.get_or_add_tcPr()  # noqa: SLF001  # as the heading says
    shade = properties.find(qn("w:shd"))
    # The schema wants borders before shading.
    properties.append(borders) if shade is None else shade.addprevious(borders)


def _field(paragraph: Setter, code: str) -> None:
    field = _element("w:fldSimple", instr=code)
    run, text = OxmlElement("w:r"), OxmlElement("w:t")
    text.text = "1"  # shown until the word processor has counted
    run.append(text)
    field.append(run)
    paragraph._p.append(field)  # noqa: SLF001  # as the heading says


def _repacked(data: io.BytesIO, at: datetime) -> bytes:
    # A DOCX is a ZIP, whose entries bear the time of writing: each gets the report's own, so that the bytes repeat.
    stamp = max(at.astimezone(UTC), datetime(1980, 1, 1, tzinfo=UTC)).timetuple()[:6]  # ZIP knows no earlier year
    out = io.BytesIO()
    with zipfile.ZipFile(data) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            entry = zipfile.ZipInfo(name, stamp)
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, source.read(name))
    return out.getvalue()
