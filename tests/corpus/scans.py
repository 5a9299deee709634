"""Pages as scanners, cameras and fax machines make them, with known text."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from PIL import Image, ImageFilter
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from tests.unit.hostile_files import LETTER, PROSE, picture, print_page, raw_pdf


def scanned_pdf(*sheets: Image.Image) -> bytes:
    """A PDF of nothing but pictures of pages."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=LETTER, invariant=1)
    for sheet in sheets:
        canvas.drawImage(ImageReader(sheet), 0, 0, *LETTER)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def turned_pdf(degrees: int) -> bytes:
    """A scan that lies on its side or upside down."""
    return scanned_pdf(print_page(PROSE).rotate(degrees, expand=degrees % 180 != 0, fillcolor=255))


def skewed_pdf(degrees: float) -> bytes:
    return scanned_pdf(print_page(PROSE).rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=255))


def rotated_by_entry_pdf() -> bytes:
    """Text that the page's /Rotate turns."""
    content = b"BT /F 14 Tf 72 700 Td (Buyer shall deposit earnest money.) Tj ET"
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Rotate 90/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )


def two_columns_pdf() -> bytes:
    left, right = print_page(PROSE, margin=100), print_page(PROSE.replace("Buyer", "Seller"), margin=100)
    sheet = Image.new("L", left.size, 255)
    half = left.width // 2
    for column, x in ((left, 0), (right, half)):
        sheet.paste(column.resize((half, left.height // 2)), (x, 100))
    return scanned_pdf(sheet)


def blank_scan_pdf() -> bytes:
    return scanned_pdf(Image.new("L", (1700, 2200), 250))


def fax_tiff() -> bytes:
    """Standard fax: 204 by 98 dpi, one bit, Group 4."""
    sheet = print_page(PROSE).resize((1728, 1078)).convert("1")
    return picture(sheet, "TIFF", compression="group4", dpi=(204, 98))


def cmyk_jpeg() -> bytes:
    return picture(print_page(PROSE).convert("CMYK"), "JPEG", dpi=(200, 200))


def dim_photo() -> bytes:
    """A photo of a page, dark and out of focus."""
    sheet = print_page(PROSE).filter(ImageFilter.GaussianBlur(1.2)).point(lambda value: 40 + value // 3)
    return picture(sheet.convert("RGB"), "JPEG", quality=40)


def fine_png() -> bytes:
    """600 dpi."""
    return picture(print_page(PROSE, dpi=600, margin=400), "PNG", dpi=(600, 600))


def animated(format_name: str) -> bytes:
    frames: Sequence[Image.Image] = [print_page(f"Frame {number}.").resize((425, 550)) for number in (1, 2, 3)]
    return picture(
        frames[0].convert("RGB"), format_name, save_all=True, append_images=[f.convert("RGB") for f in frames[1:]]
    )


def bilevel_giant_png() -> bytes:
    """Real pixels, not only claimed ones: 30,000 by 30,000 of one bit in some hundred kilobytes."""
    import struct

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    side = 30_000
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
