"""Pages with known words, as scanners and fax machines leave them: made here, the same at every run."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from handlers.documents.sample_text import AGREEMENT

LETTER_INCHES = (8.5, 11.0)
_INK = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A scanned page and the words that stand on it."""

    name: str
    image: Image.Image
    dpi: int
    words: tuple[str, ...]


def sheets(*, rounds: int = 1) -> list[Sheet]:
    """One page of each kind a round, other words on each."""
    return [make(name, seed=seed) for seed in range(rounds) for name in KINDS]


def make(name: str, *, seed: int = 0) -> Sheet:
    """The page of that kind (see `KINDS`); the same seed gives the same page."""
    kind = KINDS[name]
    rng = random.Random(f"{name} {seed}")
    image, words = _typeset(rng, kind.points, kind.dpi, kind.columns)
    return Sheet(name=name, image=kind.damage(image, rng), dpi=kind.dpi, words=words)


def pdf(pages: Sequence[Sheet]) -> bytes:
    """The pages as one PDF of pictures, each in its own resolution."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, invariant=1)
    for page in pages:
        size = page.image.width * 72 / page.dpi, page.image.height * 72 / page.dpi
        canvas.setPageSize(size)
        canvas.drawImage(ImageReader(page.image), 0, 0, *size)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def word_accuracy(expected: Sequence[str], text: str) -> float:
    """The share of the expected words found, less what was read too much: a bag of words' F1, 0..1.

    >>> word_accuracy(["one", "two"], "two one"), word_accuracy(["one"], "")
    (1.0, 0.0)
    """
    seen = Counter(text.split())
    hits = (Counter(expected) & seen).total()
    return 2 * hits / (len(expected) + seen.total()) if hits else 0.0


def _typeset(rng: random.Random, points: float, dpi: int, columns: int) -> tuple[Image.Image, tuple[str, ...]]:
    """A letter page of the sample agreement's words, beginning anywhere in it."""
    source = [word for line in AGREEMENT.splitlines() if line[:1].isalpha() for word in line.split()]
    at = rng.randrange(len(source))
    size = round(LETTER_INCHES[0] * dpi), round(LETTER_INCHES[1] * dpi)
    page = Image.new("L", size, 255)
    pen = ImageDraw.Draw(page)
    with as_file(files("reportlab") / "fonts" / "Vera.ttf") as path:
        font = ImageFont.truetype(str(path), points * dpi / 72)
    width = (size[0] - 2 * dpi - (columns - 1) * dpi * 0.3) / columns
    words: list[str] = []
    for column in range(columns):
        left, y = dpi + column * (width + dpi * 0.3), float(dpi)
        while y < size[1] - dpi:
            line: list[str] = []
            while font.getlength(" ".join([*line, source[at % len(source)]])) <= width:
                line.append(source[at % len(source)])
                at += 1
            pen.text((left, y), " ".join(line), font=font, fill=_INK)
            words += line
            y += font.size * 1.35
    return page, tuple(words)


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────

Damage = Callable[[Image.Image, random.Random], Image.Image]


def _office(image: Image.Image, rng: random.Random) -> Image.Image:
    """Soft, grainy, on paper that is not white, through a JPEG."""
    soft = image.filter(ImageFilter.GaussianBlur(image.width / 8.5 / 400))
    paper = soft.point(lambda value: round(value * 0.92))
    noise = Image.frombytes("L", image.size, rng.randbytes(image.width * image.height))
    grain = noise.point(lambda value: 128 + (value - 128) // 5)
    out = io.BytesIO()
    ImageChops.add(paper, grain, offset=-128).save(out, "JPEG", quality=60)
    return Image.open(out).convert("L")


def _skewed(degrees: float) -> Damage:
    def damage(image: Image.Image, rng: random.Random) -> Image.Image:
        turned = image.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=255)
        return _office(turned, rng)

    return damage


def _turned(degrees: int) -> Damage:
    return lambda image, rng: _office(image, rng).rotate(degrees, expand=True)


def _fax(image: Image.Image, rng: random.Random) -> Image.Image:
    """200 dots an inch across, half as many down, black or white, with specks."""
    low = image.resize((image.width, image.height // 2)).point(lambda value: 255 if value > 150 else 0)
    pen = ImageDraw.Draw(low)
    for _ in range(600):
        pen.point((rng.randrange(low.width), rng.randrange(low.height)), fill=0)
    return low.resize(image.size, Image.Resampling.NEAREST)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    points: float = 11
    dpi: int = 300
    columns: int = 1
    damage: Damage = _office


KINDS = {
    "ordinary print, 300 dpi": _Kind(),
    "ordinary print, 200 dpi": _Kind(dpi=200),
    "small print, 300 dpi": _Kind(points=6.5),
    "two columns, 300 dpi": _Kind(points=9.5, columns=2),
    "skewed by 2 degrees": _Kind(damage=_skewed(2)),
    "skewed by 6 degrees": _Kind(damage=_skewed(-6)),
    "turned by 90 degrees": _Kind(damage=_turned(90)),
    "upside down": _Kind(damage=_turned(180)),
    "low resolution, 100 dpi": _Kind(dpi=100),
    "fax quality": _Kind(dpi=200, damage=_fax),
}
