"""A sample document to try the product with: a signed purchase agreement that looks scanned, made from nothing.

An image-only PDF: nothing in it can be read but by recognition. The same seed gives the same bytes.
"""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Final

from handlers.documents.sample_text import AGREEMENT

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

DPI: Final = 180
_WIDTH: Final = int(8.5 * DPI)
_HEIGHT: Final = 11 * DPI
_MARGIN: Final = DPI
_BOTTOM: Final = _HEIGHT - 1.1 * _MARGIN
_TONER: Final = 35
_PEN: Final = 75
_SIGNED_AT: Final = time.gmtime(1_741_003_200)  # 3 March 2025, noon UTC: the clock must not change the bytes


def render_sample(path: str, *, seed: int = 7) -> None:
    """Write the sample agreement as a scanned PDF of letter pages to ``path``.

    Each page is a grey JPEG of 180 dpi, skewed by 0.4 to 1 degree, unevenly lit, grainy and a little dirty.
    """
    rng = random.Random(seed)  # noqa: S311  # grain on paper, no secret
    pages = [_scanned(sheet, rng) for sheet in _typeset(rng)]
    pages[0].save(
        path,
        format="PDF",
        save_all=True,
        append_images=pages[1:],
        resolution=DPI,
        quality=55,
        title="Residential Purchase Agreement",
        producer="jobqueue sample",
        creationDate=_SIGNED_AT,
        modDate=_SIGNED_AT,
    )


# ── typesetting ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True, kw_only=True)
class _Sheets:
    """Pages as they fill up; ``y`` is where the next line goes on the last of them."""

    pages: list[Image] = field(default_factory=list)
    y: float = math.inf

    def pen(self, height: float) -> ImageDraw:
        """Something to draw with on a page that has so much room left below ``y``."""
        from PIL import Image, ImageDraw

        if self.y + height > _BOTTOM:
            self.pages.append(Image.new("L", (_WIDTH, _HEIGHT), 255))
            self.y = 0.9 * _MARGIN
        return ImageDraw.Draw(self.pages[-1])


def _typeset(rng: random.Random) -> list[Image]:
    sheets = _Sheets()
    body = _font(10)
    for line in filter(None, AGREEMENT.split("\n")):
        mark, _, rest = line.partition(" ")
        match mark:
            case "#":
                _paragraph(sheets, rest, _font(14, bold=True), centred=True, room=2)
            case "##":
                _paragraph(sheets, rest, _font(10, bold=True), room=4, after=0.25)
            case "|":
                _row(sheets, rest.split(" | "))
            case "~":
                _signature(sheets, rest.split(" | "), rng)
            case _:
                _paragraph(sheets, line, body)
    for number, page in enumerate(sheets.pages, start=1):
        _footer(page, f"Residential Purchase Agreement - Page {number} of {len(sheets.pages)}", rng)
    return sheets.pages


def _font(points: float, *, bold: bool = False) -> FreeTypeFont:
    """Bitstream Vera, which reportlab brings along: no machine's own fonts decide how the sample looks."""
    from PIL import ImageFont

    with as_file(files("reportlab") / "fonts" / ("VeraBd.ttf" if bold else "Vera.ttf")) as path:
        return ImageFont.truetype(str(path), points * DPI / 72)


def _paragraph(
    sheets: _Sheets, text: str, font: FreeTypeFont, *, centred: bool = False, room: int = 1, after: float = 0.7
) -> None:
    """Wrapped lines; the first is set only where ``room`` lines fit, ``after`` lines stay blank behind the last."""
    leading = font.size * 1.38
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > _WIDTH - 2 * _MARGIN:
            lines.append(word)
        else:
            lines[-1] = longer
    for index, line in enumerate(lines):
        pen = sheets.pen(leading * (room if index == 0 else 1))
        x = (_WIDTH - font.getlength(line)) / 2 if centred else _MARGIN
        pen.text((x, sheets.y), line, font=font, fill=_TONER)
        sheets.y += leading
    sheets.y += leading * after


def _row(sheets: _Sheets, cells: list[str]) -> None:
    height = 0.19 * DPI
    label, value = (cell.removeprefix("| ") for cell in cells)
    pen = sheets.pen(height)
    pen.text((_MARGIN, sheets.y), label, font=_font(10, bold=True), fill=_TONER)
    pen.text((_MARGIN + 1.75 * DPI, sheets.y), value, font=_font(10), fill=_TONER)
    sheets.y += height
    sheets.y += height if label.startswith("Closing") else 0


def _signature(sheets: _Sheets, cells: list[str], rng: random.Random) -> None:
    party, name, date = cells
    pen = sheets.pen(1.1 * DPI)
    line = sheets.y + 0.6 * DPI
    for left, right in ((0, 4.0), (4.5, 6.5)):
        pen.line((_MARGIN + left * DPI, line, _MARGIN + right * DPI, line), fill=_TONER, width=2)
    _scribble(pen, (_MARGIN + 0.5 * DPI, line - 0.16 * DPI), 2.4 * DPI, 0.4 * DPI, rng)
    small = _font(9)
    pen.text((_MARGIN, line + 0.08 * DPI), f"{party} {name}", font=small, fill=_TONER)
    pen.text((_MARGIN + 4.5 * DPI, line + 0.08 * DPI), f"Date: {date}", font=small, fill=_TONER)
    sheets.y += 1.1 * DPI


def _footer(page: Image, text: str, rng: random.Random) -> None:
    from PIL import ImageDraw

    pen, font, y = ImageDraw.Draw(page), _font(8), _HEIGHT - 0.7 * _MARGIN
    pen.text((_MARGIN, y), text, font=font, fill=_TONER)
    for party, x in (("Buyer", 4.4), ("Seller", 5.5)):
        pen.text((x * DPI + 0.2 * _MARGIN, y), f"{party} ____", font=font, fill=_TONER)
        _scribble(pen, (x * DPI + 0.62 * _MARGIN, y + 0.03 * DPI), 0.26 * DPI, 0.12 * DPI, rng)


def _scribble(pen: ImageDraw, start: tuple[float, float], width: float, height: float, rng: random.Random) -> None:
    """A signature nobody has: a capital loop, smaller ones after it, on a rising and slanting line."""
    letters = round(width / (0.9 * height))
    phase, slant = rng.uniform(0, math.tau), rng.uniform(0.3, 0.6)
    points = []
    for step in range(40 * letters + 1):
        t = step / (40 * letters)
        turn = math.tau * letters * t
        tall = 1.0 if t < 1 / letters else 0.45 + 0.35 * math.sin(2.3 * turn + phase)  # a capital, then the rest
        y = 0.5 * height * (tall * math.sin(turn + phase) + 0.3 * t)
        points.append((start[0] + width * t + slant * y + 0.3 * height * math.cos(turn + phase), start[1] - y))
    pen.line(points, fill=_PEN, width=max(2, round(height / 20)), joint="curve")


# ── scanning ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _scanned(sheet: Image, rng: random.Random) -> Image:
    """The sheet as a flatbed in an office sees it."""
    from PIL import Image, ImageChops, ImageDraw, ImageFilter

    pen = ImageDraw.Draw(sheet)
    for _ in range(rng.randint(25, 45)):  # dust on the glass
        x, y, size = rng.uniform(0, _WIDTH), rng.uniform(0, _HEIGHT), rng.uniform(0.5, 1.6)
        pen.ellipse((x - size, y - size, x + size, y + size), fill=rng.randint(120, 200))
    degrees = rng.choice((-1, 1)) * rng.uniform(0.4, 1.0)
    shift = (rng.randint(-8, 8), rng.randint(-8, 8))
    turned = sheet.rotate(degrees, resample=Image.Resampling.BICUBIC, translate=shift, fillcolor=225)
    soft = turned.filter(ImageFilter.GaussianBlur(0.7))
    lit = ImageChops.multiply(soft, _light(rng))
    white_noise = Image.frombytes("L", sheet.size, rng.randbytes(_WIDTH * _HEIGHT))
    grain = white_noise.filter(ImageFilter.GaussianBlur(0.6)).point(lambda value: 128 + (value - 128) // 4)
    return ImageChops.add(lit, grain, offset=-128)


def _light(rng: random.Random) -> Image:
    """What the paper sends back: cream, darker towards one corner and along the hinge of the lid."""
    from PIL import Image

    corners = [rng.randint(228, 246) for _ in range(4)]
    wide = Image.new("L", (2, 2))
    wide.putdata(corners)
    paper = wide.resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR)
    hinge = Image.linear_gradient("L").rotate(90).resize((_WIDTH // 14, _HEIGHT))
    shade = hinge.point(lambda value: 150 + value * 105 // 255)
    paper.paste(Image.blend(paper.crop((0, 0, *shade.size)), shade, 0.35), (0, 0))
    return paper
