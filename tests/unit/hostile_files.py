"""Files as they arrive from outside, good and bad, as bytes: made here, so that the suite carries no binaries."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Sequence
from importlib.resources import as_file, files

from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

LETTER = (612, 792)
PROSE = "Buyer shall deposit earnest money\nof $8,500.00 with Stillfinch Title\non or before March 6, 2025."


ONE_BLANK_PAGE = (
    b"<</Type/Catalog/Pages 2 0 R>>",
    b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>",
)


def empty() -> bytes:
    return b""


def text_named_pdf() -> bytes:
    """To be named ``something.pdf``."""
    return b"This is what a broken download looks like.\n"


def text_pdf(pages: Sequence[str] = (PROSE,), *, password: str | None = None) -> bytes:
    """A PDF with a text layer; with a password that every reader must ask for where one is given."""
    out = io.BytesIO()
    lock = StandardEncryption(password, ownerPassword="owner", strength=128) if password is not None else None
    canvas = Canvas(out, pagesize=LETTER, encrypt=lock, invariant=1)
    canvas.setTitle("Earnest money receipt")
    canvas.setAuthor("Thistlewick Homes")
    for page in pages:
        canvas.setFont("Helvetica", 12)
        for index, line in enumerate(page.splitlines()):
            canvas.drawString(72, 700 - 18 * index, line)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def encrypted_pdf() -> bytes:
    return text_pdf(password="secret")


def restricted_pdf() -> bytes:
    """Encrypted, but open to anyone: only printing and copying ask for the owner's password."""
    return text_pdf(password="")


def truncated_pdf() -> bytes:
    """The first two thirds of a good PDF: an upload that broke off."""
    whole = text_pdf([PROSE] * 3)
    return whole[: len(whole) * 2 // 3]


def linearized_and_truncated_pdf() -> bytes:
    """A file for the web has an end marker near its start, too: the header's length gives the cut away."""
    whole = text_pdf()
    return whole.replace(b"%PDF-1.3\n", b"%PDF-1.3\n1 0 obj << /Linearized 1 /L 900000 >> endobj\n", 1)


def pageless_pdf() -> bytes:
    return raw_pdf(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>")


def lying_page_count_pdf(count: int = 8) -> bytes:
    """Claims many pages and has one."""
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count %d>>" % count,
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>",
    )


def garbled_scan_pdf() -> bytes:
    """A scan under a longer text layer of nonsense, as a broken recognition leaves it."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=LETTER, invariant=1)
    canvas.drawImage(ImageReader(print_page(PROSE)), 0, 0, *LETTER)
    layer = canvas.beginText(36, 760)
    layer.setTextRenderMode(3)  # invisible
    for _ in range(20):
        layer.textLine('~^ <>| {}[] @@ %% ?? ## \\\\ ++ a ;; !! == "" && // $')
    canvas.drawText(layer)
    canvas.save()
    return out.getvalue()


def unmapped_text_pdf() -> bytes:
    """Text in a font that draws nothing and says of no glyph which character it is."""
    content = b"BT /F 12 Tf 72 700 Td <0001000200030004000500060007000800090010001100120013001400150016> Tj ET"
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type0/BaseFont/Nameless/Encoding/Identity-H/DescendantFonts[6 0 R]>>",
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont/Nameless/DW 600/FontDescriptor 7 0 R"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>>>",
        b"<</Type/FontDescriptor/FontName/Nameless/Flags 4/FontBBox[0 0 600 700]/ItalicAngle 0/Ascent 700"
        b"/Descent 0/CapHeight 700/StemV 80>>",
    )


def poster_pdf() -> bytes:
    """One page of 200 by 200 inches: 3.6 thousand million pixels at 300 dpi."""
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 14400 14400]>>",
    )


def raw_pdf(*objects: bytes) -> bytes:
    """Objects numbered from 1, the first of them the catalog, with a correct cross-reference table."""
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def mixed_pdf() -> bytes:
    """Page 1 with a text layer, page 2 a scan, page 3 blank."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=LETTER, invariant=1)
    canvas.drawString(72, 700, "This page carries its own text layer.")
    canvas.showPage()
    canvas.drawImage(ImageReader(print_page(PROSE)), 0, 0, *LETTER)
    canvas.showPage()
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def stamped_scan_pdf() -> bytes:
    """A scan in four strips on which a signing service has printed its envelope id as text."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=LETTER, invariant=1)
    scan = print_page(PROSE)
    for strip in range(4):  # as some scanners store a page
        low, high = scan.height * strip // 4, scan.height * (strip + 1) // 4
        bottom, height = LETTER[1] * (3 - strip) / 4, LETTER[1] / 4
        canvas.drawImage(ImageReader(scan.crop((0, low, scan.width, high))), 0, bottom, LETTER[0], height)
    canvas.setFont("Helvetica", 6)
    canvas.drawString(20, 780, "Envelope ID: 8A1D77F2-0B45-4E9B-93C1-5D2F6E7A8B90")
    canvas.save()
    return out.getvalue()


LETTER_TEXT = "\n".join(
    f"{number}. The seller delivers the property to the buyer free of liens on the closing date."
    for number in (1, 2, 3)
)


def letter_with_scanned_clause_pdf(inlay: Image.Image | None = None, *, text: str = LETTER_TEXT) -> bytes:
    """A text layer on the upper half, and below it a picture over a quarter of the page: of print, or the one given."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=LETTER, invariant=1)
    for index, line in enumerate(text.splitlines()):
        canvas.drawString(72, 700 - 18 * index, line)
    clause = inlay or print_page(PROSE).crop((100, 100, 1300, 500))
    canvas.drawImage(ImageReader(clause), 72, 150, 432, 144 if inlay is None else 216)
    canvas.save()
    return out.getvalue()


def form_pdf() -> bytes:
    """A form with one field filled in."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=LETTER, invariant=1)
    canvas.drawString(72, 700, "The purchase price of the property is")
    canvas.acroForm.textfield(name="price", value="425,000 USD", x=72, y=660, width=200, height=20)
    canvas.save()
    return out.getvalue()


def print_page(text: str, *, dpi: int = 200, margin: int = 150) -> Image.Image:
    """A letter page with ``text`` in 12 points, as a clean grey scan."""
    page = Image.new("L", (int(8.5 * dpi), 11 * dpi), 255)
    with as_file(files("reportlab") / "fonts" / "Vera.ttf") as path:
        font = ImageFont.truetype(str(path), 12 * dpi / 72)
    ImageDraw.Draw(page).multiline_text((margin, margin), text, font=font, fill=20, spacing=14)
    return page


def picture(image: Image.Image, format_name: str, **options: object) -> bytes:
    """An image as a file of that format."""
    out = io.BytesIO()
    image.save(out, format=format_name, **options)
    return out.getvalue()


def multi_page_tiff(pages: Sequence[str] = (PROSE, "Second page of the addendum.")) -> bytes:
    sheets = [print_page(page).convert("1") for page in pages]
    return picture(sheets[0], "TIFF", save_all=True, append_images=sheets[1:], compression="group4", dpi=(200, 200))


def picture_beside_print_tiff() -> bytes:
    """Page 1 of print, page 2 a picture without a word."""
    art = Image.effect_mandelbrot((600, 800), (-2, -1.5, 1, 1.5), 50)
    return picture(print_page(PROSE), "TIFF", save_all=True, append_images=[art], dpi=(200, 200))


def endless_tiff() -> bytes:
    """A TIFF whose only directory names itself as the next one."""
    data = bytearray(picture(Image.new("L", (32, 32), 255), "TIFF"))
    start = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, start)[0]
    struct.pack_into("<I", data, start + 2 + 12 * entries, start)
    return bytes(data)


def huge_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A few bytes whose header claims 3.6 thousand million pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def cut_off_png() -> bytes:
    whole = picture(Image.effect_mandelbrot((200, 200), (-2, -1.5, 1, 1.5), 50), "PNG")
    return whole[: len(whole) // 2]


def cut_off_jpeg() -> bytes:
    whole = picture(Image.effect_mandelbrot((200, 200), (-2, -1.5, 1, 1.5), 50), "JPEG")
    return whole[: len(whole) // 2]


def scrambled_tiff() -> bytes:
    """A good header over a directory of noise."""
    return b"II*\0\x08\0\0\0" + random.Random(3).randbytes(400)


def utf16_text() -> bytes:
    return "Kaufpreis: 425.000 €\r\nKäufer: Ingrid Voßberg\r\n".encode("utf-16")


def binary_noise() -> bytes:
    return random.Random(5).randbytes(2_000)


def word_file() -> bytes:
    """The outside of an Office file, which doesn't say what it is."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<document/>")
    return out.getvalue()


def web_page() -> bytes:
    return b"<!DOCTYPE html>\n<html><body>Please sign in to download.</body></html>"
