"""Contract pages with check boxes, lines to sign and form fields, made by code, with the marks that are on them."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, field
from typing import Any, Final

import pikepdf
from PIL import Image, ImageFilter
from reportlab.lib.pagesizes import LETTER
from reportlab.pdfgen.canvas import Canvas

from handlers.documents.sample_text import AGREEMENT

HEIGHT: Final = LETTER[1]
FONTS: Final = ("Helvetica", "Times-Roman", "Courier")


@dataclass(slots=True)
class Truth:
    """A mark that was drawn: its state is of ``checked`` or ``filled``; its place in points from the top left."""

    kind: str
    state: bool
    label: str
    x: float
    y: float


@dataclass(slots=True)
class Page:
    """A page being drawn; ``y`` counts from the top."""

    seed: int = 0
    font: str = "Helvetica"
    size: float = 10
    truths: list[Truth] = field(default_factory=list)
    out: io.BytesIO = field(default_factory=io.BytesIO)
    canvas: Any = field(init=False)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.canvas = Canvas(self.out, pagesize=LETTER, invariant=1)
        self.chance = random.Random(self.seed)

    def text(self, x: float, y: float, words: str, *, size: float | None = None) -> float:
        self.canvas.setFont(self.font, size or self.size)
        self.canvas.drawString(x, HEIGHT - y, words)
        return x + float(self.canvas.stringWidth(words, self.font, size or self.size))

    def box(self, x: float, y: float, side: float, label: str, mark: str = "") -> float:
        """A square standing on the row at ``y``; ``mark`` is '', 'cross', 'tick' or 'letter'."""
        low = HEIGHT - y - 1
        self.canvas.setLineWidth(self.chance.choice((0.5, 0.75, 1)))
        self.canvas.rect(x, low, side, side)
        if mark == "cross":
            self.canvas.line(x + 1, low + 1, x + side - 1, low + side - 1)
            self.canvas.line(x + 1, low + side - 1, x + side - 1, low + 1)
        elif mark == "tick":
            self.canvas.setLineWidth(1.2)
            self.canvas.line(x + 0.2 * side, low + 0.5 * side, x + 0.45 * side, low + 0.2 * side)
            self.canvas.line(x + 0.45 * side, low + 0.2 * side, x + 1.1 * side, low + 1.1 * side)
        elif mark == "letter":
            self.canvas.setFont("Helvetica", side * 0.9)
            self.canvas.drawCentredString(x + side / 2, low + side * 0.18, "X")
        self.truths.append(Truth("checkbox", bool(mark), label, x, y - side))
        return self.text(x + side + 4, y, label)

    def line(self, x: float, y: float, width: float, *, under: str = "", kind: str = "", filled: bool = False) -> None:
        self.canvas.setLineWidth(0.7)
        self.canvas.line(x, HEIGHT - y, x + width, HEIGHT - y)
        if filled:
            self.scribble(x + 4, y, min(width - 8, 90))
        if under:
            self.text(x, y + 10, under, size=8)
        if kind:
            self.truths.append(Truth(kind, filled, under, x, y))

    def scribble(self, x: float, y: float, width: float) -> None:
        self.canvas.setLineWidth(0.9)
        path = self.canvas.beginPath()
        path.moveTo(x, HEIGHT - y + 2)
        at = x
        while at < x + width:
            up = self.chance.uniform(3, 12)
            path.curveTo(at + 2, HEIGHT - y + up, at + 4, HEIGHT - y + up, at + 5, HEIGHT - y + 1)
            at += 6
        self.canvas.drawPath(path)

    def prose(self, y: float, lines: int) -> float:
        words = AGREEMENT.split()
        at = self.chance.randrange(len(words) - 14 * lines)
        for number in range(lines):
            self.text(60, y + 14 * number, " ".join(words[at + 11 * number : at + 11 * number + 11]))
        return y + 14 * lines

    def pdf(self) -> bytes:
        self.canvas.showPage()
        self.canvas.save()
        return self.out.getvalue()


def contract(seed: int) -> Page:
    """Boxes in rows and columns, ticked or not, blanks in the text, and a signature block."""
    page = Page(seed=seed, font=FONTS[seed % 3])
    chance = page.chance
    page.text(60, 60, "5. FINANCING AND DISCLOSURES", size=12)
    y = page.prose(80, 6) + 10
    side = chance.choice((7.0, 8.0, 9.0, 10.0, 12.0))
    for label in ("Cash at closing", "Conventional loan", "FHA or VA loan", "Seller financing"):
        page.box(60, y, side, label, chance.choice(("", "", "cross", "tick", "letter")))
        page.box(330, y, side, chance.choice(("Yes", "Included", "As is")), chance.choice(("", "cross")))
        y += 20
    y = page.prose(y + 6, 5) + 8
    at = page.text(60, y, "Lead-based paint:")
    at = page.box(at + 8, y, side, "is", chance.choice(("", "cross")))
    page.box(at + 14, y, side, "is not attached", chance.choice(("", "cross")))
    y = page.prose(y + 24, 5) + 30
    page.text(60, y, "IN WITNESS WHEREOF the parties have signed below.")
    y += 50
    for party in ("Buyer's Signature", "Seller's Signature"):
        page.line(60, y, 220, under=party, kind="signature", filled=chance.random() < 0.5)
        page.line(330, y, 90, under="Date", kind="field", filled=chance.random() < 0.5)
        y += 48
    end = page.text(60, y, "Buyer's Initials ")
    page.line(end + 2, y, 36, kind="initials", filled=chance.random() < 0.5)
    end = page.text(330, y, "Seller's Initials ")
    page.line(end + 2, y, 36, kind="initials", filled=chance.random() < 0.5)
    return page


def form() -> bytes:
    """A page with a form: boxes, radio buttons, text fields, and signature fields of which one is signed."""
    page = Page()
    page.text(60, 60, "ADDENDUM FOR SALE OF OTHER PROPERTY BY BUYER", size=12)
    page.prose(90, 4)
    fields = page.canvas.acroForm
    for y, name, ticked in ((200, "cash", True), (225, "loan", False)):
        fields.checkbox(name=name, x=60, y=HEIGHT - y, size=12, checked=ticked)
        page.text(78, y - 3, f"{name.title()} purchase")
    for x, value in ((60, "yes"), (140, "no")):
        fields.radio(name="attached", value=value, selected=value == "no", x=x, y=HEIGHT - 250, size=12)
        page.text(x + 18, 247, value.title())
    page.text(60, 300, "Buyer name")
    fields.textfield(name="buyer", value="Ana Reyes", x=130, y=HEIGHT - 304, width=150, height=16)
    page.text(60, 330, "Buyer initials")
    fields.textfield(name="init", value="", x=130, y=HEIGHT - 334, width=40, height=16)
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(page.pdf())) as pdf:
        for x, signed in ((60, True), (300, False)):
            field = pikepdf.Dictionary(
                Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Widget, FT=pikepdf.Name.Sig, F=4,
                T=pikepdf.String(f"Signature {x}"), Rect=[x, 300, x + 150, 330],
            )  # fmt: skip
            if signed:
                field.V = pikepdf.Dictionary(Type=pikepdf.Name.Sig, Name=pikepdf.String("Ana Reyes"))
            made = pdf.make_indirect(field)
            pdf.pages[0].Annots.append(made)
            pdf.Root.AcroForm.Fields.append(made)
        pdf.save(out)
    return out.getvalue()


def typed() -> bytes:
    """Boxes and blanks made of characters, as typists make them."""
    page = Page(font="Helvetica")
    page.prose(70, 5)
    for y, row in (
        (170, "[X] Cash at closing"),
        (190, "[ ] Conventional loan"),
        (210, "(x) Included"),
        (230, "( ) Not included"),
        (250, "_X_ Seller pays for the survey"),
        (290, "Buyer's signature: ______________________"),
        (320, "Seller's initials: ________   (512) 555-0100"),
    ):
        page.text(60, y, row)
    return page.pdf()


def dingbats() -> bytes:
    """Boxes of the font that every reader of PDFs has for them."""
    page = Page()
    page.prose(70, 5)
    for y, glyph, words in ((170, "❑", "Buyer waives the inspection"), (190, "✔", "Buyer has seen the report")):
        page.canvas.setFont("ZapfDingbats", 10)
        page.canvas.drawString(60, HEIGHT - y, glyph)
        page.text(74, y, words)
    return page.pdf()


def plain(seed: int) -> Page:
    """No mark at all, but what looks like some: a table, a logo, an underlined heading, a rule, round letters."""
    page = Page(seed=seed, font=FONTS[seed % 3])
    canvas = page.canvas
    for x, top, side in ((60, 40, 14), (76, 40, 14), (60, 56, 14), (76, 56, 14)):
        canvas.rect(x, HEIGHT - top - side, side, side, stroke=0, fill=1)
    page.text(100, 60, "OOD DOQ BORDER BOND CO.", size=18)
    canvas.line(60, HEIGHT - 80, 552, HEIGHT - 80)
    end = page.text(60, 110, "Purchase Price", size=12)
    canvas.line(60, HEIGHT - 112, end, HEIGHT - 112)
    y = page.prose(130, 12)
    for row in range(5):
        for left, width in ((60, 14), (74, 120), (194, 14), (208, 60)):
            canvas.rect(left, HEIGHT - y - 14 * row - 14, width, 14)
        page.text(78, y + 14 * row + 10, f"Item {row + 1} buyer", size=8)
    page.prose(y + 100, 14)
    return page


def scanned(pdf: bytes, *, seed: int, dpi: int = 200, degrees: float = 0.0, bits: int = 8) -> Image.Image:
    """A page of a PDF as an office scanner gives it: a little soft, noisy, askew; in grey or black and white."""
    import pypdfium2

    document = pypdfium2.PdfDocument(pdf)
    sheet: Image.Image = document[0].render(scale=dpi / 72, grayscale=True).to_pil().convert("L")
    document.close()
    sheet = sheet.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=255)
    sheet = sheet.filter(ImageFilter.GaussianBlur(0.6)).point(lambda value: 30 + value * 21 // 25)
    noise = Image.effect_noise(sheet.size, 24)
    sheet = Image.blend(sheet, noise, 0.12)
    return sheet.point(lambda value: 255 if value > 165 else 0) if bits == 1 else sheet
