"""The layout of the PDF: styles, tables, and which block is set how.

Imports ReportLab at the top, so it is imported by `handlers.rendering.pdf` alone, inside its function.
"""

from __future__ import annotations

from typing import Any, Final

from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.styles import ParagraphStyle
from reportlab.platypus import CondPageBreak, Flowable, HRFlowable, KeepTogether, LongTable, SimpleDocTemplate, Spacer
from reportlab.platypus import Paragraph as Setter

from handlers.rendering import palette
from handlers.rendering.bidi import has_rtl, starts_rtl, visual, wrap
from handlers.rendering.blocks import Block, Bullets, Callout, Column, Outline, Paragraph, Table
from handlers.rendering.fonts import BOLD, REGULAR, Pen
from handlers.rendering.pdf_canvas import numbered_canvas

# US Letter, in points.
PAGE: Final = (612.0, 792.0)
MARGIN: Final = 54.0
WIDTH: Final = PAGE[0] - 2 * MARGIN
PADDING: Final = 6.0  # of table cells, and of ReportLab's frame: text inside and outside tables is flush

REPLACED_NOTE: Final = "� stands for a character that the fonts of this report can't show."


def write_pdf(outline: Outline, out_path: str) -> int:
    """Write the outline to ``out_path``; how many pages it took."""
    return _Writer(outline).write(out_path)


class _Writer:
    """Lays out one outline; holds the styles and the pen."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.pen = Pen()
        self.styles = _styles()

    def write(self, out_path: str) -> int:
        """Write the file; how many pages it has."""
        story = self._story()
        document = SimpleDocTemplate(
            out_path,
            pagesize=PAGE,
            leftMargin=MARGIN,
            rightMargin=MARGIN,
            topMargin=MARGIN,
            bottomMargin=MARGIN + 12,
            title=self.outline.title,
            author="",
            subject=self.outline.kicker,
            creator="jobqueue",
            invariant=1,
            lang="en-US",
        )
        document.build(story, canvasmaker=numbered_canvas(self.outline))
        return document.page

    def _story(self) -> list[Flowable]:
        story = self._cover()
        for section in self.outline.sections:
            # A heading stays with the first rows under it.
            story += [CondPageBreak(100), self._text(section.heading, "heading")]
            for block in section.blocks:
                story += self._block(block)
        if self.pen.replaced:
            story.append(self._text(REPLACED_NOTE, "note"))
        return story

    def _cover(self) -> list[Flowable]:
        label = 0.22 * WIDTH
        rows: list[list[Flowable]] = [
            [self._text(name, "label", label), self._text(value, "cell", WIDTH - label)]
            for name, value in self.outline.cover
        ]
        return [
            self._text(self.outline.kicker.upper(), "kicker"),
            self._text(self.outline.title, "title"),
            HRFlowable(width=WIDTH, thickness=1.5, color=palette.ACCENT, spaceBefore=2, spaceAfter=8),
            self._grid(rows, [label, WIDTH - label], [("BOTTOMPADDING", (0, 0), (-1, -1), 2)], header=0),
            Spacer(0, 6),
        ]

    def _block(self, block: Block) -> list[Flowable]:
        match block:
            case Paragraph():
                return [self._text(block.text, block.style)]
            case Bullets():
                return [self._text(item, "bullet", bullet="•") for item in block.items]
            case Table():
                return self._table(block)
            case Callout():
                return self._callout(block)

    def _table(self, table: Table) -> list[Flowable]:
        widths = [column.share * WIDTH for column in table.columns]
        rows = [[self._text(c.title, _head(c), w) for c, w in zip(table.columns, widths, strict=True)]]
        for row in table.rows:
            cells = zip(row, table.columns, widths, strict=True)
            rows.append([self._text(cell, _cell(column, cell), width) for cell, column, width in cells])
        looks = [
            ("BACKGROUND", (0, 0), (-1, 0), palette.SHADE),
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, palette.ACCENT),
            ("LINEBELOW", (0, 1), (-1, -1), 0.4, palette.RULE),
        ]
        return [self._grid(rows, widths, looks, header=1), Spacer(0, 6)]

    def _callout(self, callout: Callout) -> list[Flowable]:
        tone = palette.TONES[callout.severity]
        parts = (
            (callout.label, f"tone-{callout.severity}"),
            (callout.title, "strong"),
            (callout.text, "cell"),
            (callout.quote, "quote"),
        )
        rows = [[self._text(text, style)] for text, style in parts if text]
        looks = [
            ("LINEBEFORE", (0, 0), (0, -1), 3, tone),
            ("BACKGROUND", (0, 0), (-1, -1), palette.SHADE),
            ("TOPPADDING", (0, 1), (-1, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -2), 2),
        ]
        return [KeepTogether([self._grid(rows, [WIDTH], looks, header=0), Spacer(0, 6)])]

    def _grid(self, rows: list[list[Flowable]], widths: list[float], looks: list[Any], *, header: int) -> Flowable:
        base = [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), PADDING),
            ("RIGHTPADDING", (0, 0), (-1, -1), PADDING),
            ("TOPPADDING", (0, 0), (-1, -1), 3),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
        ]
        return LongTable(rows, colWidths=widths, repeatRows=header, style=[*base, *looks])

    def _text(self, text: str, style: str, width: float = WIDTH, *, bullet: str | None = None) -> Flowable:
        """Text in a style; ``width`` is that of the table cell around it."""
        look = self.styles[style]
        bold = look.fontName == BOLD
        if not has_rtl(text):
            return Setter(self.pen.markup(text, bold=bold), look, bulletText=bullet)
        # ReportLab sets glyphs from left to right: lines are broken here, and each put in display order.
        room = width - 2 * PADDING - look.leftIndent - look.rightIndent
        lines = wrap(text, room, lambda part: self.pen.width(part, look.fontSize, bold=bold))
        markup = "<br/>".join(self.pen.markup(visual(line, rtl=starts_rtl(text)), bold=bold) for line in lines)
        return Setter(markup, look, bulletText=bullet)


def _head(column: Column) -> str:
    return "head-number" if column.style == "number" else "head"


def _cell(column: Column, text: str) -> str:
    if text == column.alert:
        return "alert"
    return {"text": "cell", "strong": "strong", "number": "number", "quote": "quote"}[column.style]


def _styles() -> dict[str, ParagraphStyle]:

    def style(name: str, size: float, leading: float, **more: Any) -> ParagraphStyle:
        looks = {"fontName": REGULAR, "textColor": palette.INK, "splitLongWords": 1, **more}
        return ParagraphStyle(name, fontSize=size, leading=leading, **looks)

    made = [
        style("kicker", 8, 11, fontName=BOLD, textColor=palette.ACCENT, spaceAfter=3),
        style("title", 18, 23, fontName=BOLD, spaceAfter=5),
        style("heading", 13, 17, fontName=BOLD, textColor=palette.ACCENT, spaceBefore=12, spaceAfter=6),
        style("body", 9.5, 14, spaceAfter=5),
        style("note", 8, 11.5, textColor=palette.MUTED, spaceAfter=5),
        style("bullet", 9.5, 14, leftIndent=13, bulletIndent=2, spaceAfter=2),
        style("label", 8.5, 12, textColor=palette.MUTED),
        style("cell", 8.5, 12),
        style("strong", 8.5, 12, fontName=BOLD),
        style("alert", 8.5, 12, fontName=BOLD, textColor=palette.ALERT),
        style("number", 8.5, 12, alignment=TA_RIGHT),
        style("quote", 8, 11.5, textColor=palette.MUTED),
        style("head", 8, 11, fontName=BOLD, textColor=palette.ACCENT),
        style("head-number", 8, 11, fontName=BOLD, textColor=palette.ACCENT, alignment=TA_RIGHT),
    ]
    made += [
        style(f"tone-{severity}", 7.5, 10, fontName=BOLD, textColor=tone) for severity, tone in palette.TONES.items()
    ]
    return {look.name: look for look in made}
