"""Documents' texts and scans, made by code, for the tests of the outputs of a document's text."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from jobqueue.tasks import DocumentText, PageSource, PageText, PageWord, pack_words

LETTER_200 = (1_700, 2_200)


def word(text: str, start: int, box: tuple[int, int, int, int], block: int = 1, line: int = 1) -> PageWord:
    """A recognised word."""
    return PageWord(text, start, 0.9, *box, block, line)


def page_of(number: int, size: tuple[int, int], *lines: str, left: int = 200, top: int = 200) -> PageText:
    """A recognised page: each line's words in boxes of 30 pixels a letter, 40 high, 80 from line to line."""
    words, length = [], 0
    for row, line in enumerate(lines):
        x = left
        for text in line.split():
            box = (x, top + 80 * row, x + 30 * len(text), top + 80 * row + 40)
            words.append(word(text, length, box, line=row + 1))
            x, length = box[2] + 30, length + len(text) + 1
    return PageText(
        number=number, text="\n".join(lines), source=PageSource.OCR, confidence=0.9,
        width_px=size[0], height_px=size[1], word_table=pack_words(words),
    )  # fmt: skip


def layer_page(number: int, text: str) -> PageText:
    """A page of which only the text is known."""
    return PageText(number=number, text=text, source=PageSource.TEXT, confidence=1.0)


def stored(directory: Path, *pages: PageText) -> str:
    """The text as it lies in storage."""
    path = directory / "text.json"
    path.write_text(DocumentText(pages=list(pages)).model_dump_json(), encoding="utf-8")
    return str(path)


def scan_of(page: PageText, mode: str = "L") -> Image.Image:
    """The picture of which `page_of` is the text: a grey bar in each word's box, the word on it."""
    image = Image.new("L", (page.width_px, page.height_px), 255)
    draw = ImageDraw.Draw(image)
    for one in page.words:
        draw.rectangle((one.left, one.top, one.right - 1, one.bottom - 1), fill=0 if mode == "1" else 200)
        if mode != "1":
            draw.text((one.left, one.top), one.text, fill=0, font=ImageFont.load_default(36))
    return image.convert(mode)


def scanned_pdf(path: Path, *pictures: Image.Image, size_pt: tuple[float, float] = (612, 792)) -> Path:
    """A PDF with a picture over the whole of each page."""
    canvas = Canvas(str(path), pagesize=size_pt, invariant=True)
    for picture in pictures:
        file = io.BytesIO()
        picture.save(file, "PNG")
        canvas.drawImage(ImageReader(file), 0, 0, *size_pt)
        canvas.showPage()
    canvas.save()
    return path
