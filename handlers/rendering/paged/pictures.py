"""A page as one picture, encoded as PDF takes it: fax (G4) for black and white, JPEG for everything else."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from handlers.documents.engines import open_pdf
from handlers.documents.images import FORMATS, check_pixels, grey_page, likely_dpi, open_image
from jobqueue.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

POINTS_PER_INCH: Final = 72.0
PDF: Final = "application/pdf"
MAX_PIXELS: Final = 25_000_000  # A3 at 300 dpi has 17 million
JPEG_QUALITY: Final = 75

_USUAL_DPI: Final = 200.0
_SCAN_DPI: Final = (150.0, 300.0)
_LIKELY_DPI: Final = (50.0, 2_400.0)
_MAX_SIDE_PT: Final = 14_400.0  # as far as PDF 1.4 goes
_MIN_SIDE_PT: Final = 3.0
_COLOURS: Final = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}
_Size = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePicture:
    """A page's picture: its size in points, and a PDF image stream's dictionary entries and data."""

    size_pt: _Size
    entries: bytes
    data: bytes


def page_pictures(path: Path, mime_type: str, numbers: list[int], *, engine: str) -> Iterator[PagePicture]:
    """The pictures of these pages (from 1) of an accepted file, one after the other; upright as they are recognised.

    Pages of a PDF come in grey, at their scan's resolution (150 to 300 dots per inch), else at 200.

    Raises:
        RejectedFile: a page is damaged.
        LimitExceeded: it has too many pixels.
        InvalidInput: files of that type aren't pictures.
        ConfigError: there is no such PDF engine.
    """
    if mime_type == PDF:
        with open_pdf(path, engine=engine, file_name="the file") as pdf:
            for number in numbers:
                low, high = _SCAN_DPI
                wanted = min(max(pdf.scan_dpi(number) or _USUAL_DPI, low), high)
                image, dpi = pdf.render(number, dpi=wanted, max_pixels=MAX_PIXELS)
                yield _encoded(
                    image, _bounded(image.width * POINTS_PER_INCH / dpi, image.height * POINTS_PER_INCH / dpi)
                )
    elif mime_type in FORMATS:
        for number in numbers:
            yield _encoded(*_picture(path, mime_type, number))
    else:
        raise InvalidInput(f"a file of type {mime_type} has no pages to be shown as pictures: ask for txt or md")


def _picture(path: Path, mime_type: str, number: int) -> tuple[Image, _Size]:
    from PIL import ImageOps

    name = f"page {number}"
    with open_image(path, mime_type, file_name=name) as image:
        if number > 1:
            image.seek(number - 1)
            check_pixels(image, name)
        image.load()  # a TIFF turns itself on loading, and its size with it
        across, down = _dpi(image)
        size_pt = _bounded(image.width * POINTS_PER_INCH / across, image.height * POINTS_PER_INCH / down)
        shown: Image | None = None
        if image.mode == "1":
            shown = ImageOps.exif_transpose(image)
        elif image.mode in _COLOURS:
            shown = ImageOps.exif_transpose(_within_budget(_on_paper(image)))
        turned = image.getexif().get(0x0112, 1) >= 5 and image.format != "TIFF"  # noqa: PLR2004  # a quarter turn
    if shown is None:
        shown, _ = grey_page(path, mime_type, number, max_pixels=MAX_PIXELS)
    return shown, size_pt[::-1] if turned else size_pt


def _dpi(image: Image) -> _Size:
    """Dots per inch across and down; they differ in a fax."""
    low, high = _LIKELY_DPI
    try:
        across, down = (float(value) for value in image.info["dpi"])
        if low <= across <= high and low <= down <= high:
            return across, down
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        pass
    guess = likely_dpi(image) or _USUAL_DPI
    return guess, guess


def _bounded(width_pt: float, height_pt: float) -> _Size:
    scale = min(1.0, _MAX_SIDE_PT / max(width_pt, height_pt))
    return max(_MIN_SIDE_PT, width_pt * scale), max(_MIN_SIDE_PT, height_pt * scale)


def _on_paper(image: Image) -> Image:
    from PIL import Image as Pillow

    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    paper = Pillow.new("RGB", layers.size, "white")
    paper.paste(layers, mask=layers.getchannel("A"))
    return paper


def _within_budget(image: Image) -> Image:
    scale = (MAX_PIXELS / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    return image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), reducing_gap=2.0)


def _encoded(image: Image, size_pt: _Size) -> PagePicture:
    common = b"/Type /XObject /Subtype /Image /Width %d /Height %d " % image.size
    if image.mode == "1":
        # Pillow writes black as 0, which to the fax code is its white: so black is 1 to the reader.
        entries = (
            b"/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /CCITTFaxDecode "
            b"/DecodeParms << /K -1 /Columns %d /Rows %d /BlackIs1 true >>" % image.size
        )
        return PagePicture(size_pt=size_pt, entries=common + entries, data=_fax(image))
    space = b"/DeviceRGB" if image.mode == "RGB" else b"/DeviceGray"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    entries = b"/ColorSpace %b /BitsPerComponent 8 /Filter /DCTDecode" % space
    return PagePicture(size_pt=size_pt, entries=common + entries, data=buffer.getvalue())


def _fax(image: Image) -> bytes:
    """Group 4 data, out of a TIFF of one strip."""
    from PIL import Image as Pillow
    from PIL.TiffImagePlugin import ROWSPERSTRIP, STRIPBYTECOUNTS, STRIPOFFSETS

    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="group4", tiffinfo={ROWSPERSTRIP: image.height})
    with Pillow.open(buffer, formats=["TIFF"]) as tiff:
        tags = tiff.tag_v2  # type: ignore[attr-defined]  # a TIFF's
        (start,), (length,) = tags[STRIPOFFSETS], tags[STRIPBYTECOUNTS]
    return buffer.getvalue()[start : start + length]
