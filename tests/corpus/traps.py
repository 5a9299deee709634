"""Files made to hurt: bombs, polyglots, endless and bottomless ones, macros, the test virus."""

from __future__ import annotations

import io
import zlib
from email.message import EmailMessage

import docx

from tests.clamd_support import zipped
from tests.unit.hostile_files import ONE_BLANK_PAGE, PROSE, picture, print_page, raw_pdf, text_pdf

_CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"


def _page_with(*streams: bytes, filters: bytes) -> bytes:
    body = b"".join(streams)
    return raw_pdf(
        _CATALOG,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R>>",
        b"<</Length %d/Filter%s>>stream\n%s\nendstream" % (len(body), filters, body),
    )


def drawing_bomb_pdf() -> bytes:
    """A few kilobytes that unpack to a hundred megabytes of drawing orders."""
    orders = zlib.compress(b"0 0 m 612 792 l S " * 6_000_000, 9)
    return _page_with(zlib.compress(orders, 9), filters=b"[/FlateDecode/FlateDecode]")


def blank_bomb_pdf() -> bytes:
    """One that unpacks to a gigabyte of blanks."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * 10_000_000) for _ in range(100)) + packer.flush()
    return _page_with(zlib.compress(packed, 9), filters=b"[/FlateDecode/FlateDecode]")


def bottomless_array_pdf() -> bytes:
    return raw_pdf(*ONE_BLANK_PAGE, b"[" * 200_000 + b"]" * 200_000)


def bottomless_pages_pdf(depth: int = 3_000) -> bytes:
    """A page below so many nodes of the page tree."""
    nodes = [b"<</Type/Pages/Kids[%d 0 R]/Count 1>>" % number for number in range(3, depth + 3)]
    return raw_pdf(_CATALOG, *nodes, b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 612 792]>>" % (depth + 1))


def circular_pages_pdf() -> bytes:
    return raw_pdf(_CATALOG, b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>")


def self_drawing_pdf() -> bytes:
    """A form that draws itself, twice."""
    content = b"/X Do /X Do"
    form = (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 4 0 R>>>>/Length %d>>stream\n%s\nendstream"
    )
    return raw_pdf(
        _CATALOG,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</XObject<</X 4 0 R>>>>>>",
        form % (len(content), content),
    )


def launching_pdf() -> bytes:
    catalog = b"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/Launch/F(cmd.exe)>>>>"
    return raw_pdf(catalog, *ONE_BLANK_PAGE[1:])


def scripted_pdf() -> bytes:
    catalog = b"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>>>"
    return raw_pdf(catalog, *ONE_BLANK_PAGE[1:])


def pdf_that_is_a_zip_too() -> bytes:
    return text_pdf() + zipped(("run.exe", b"MZ" + bytes(200)))


def jpeg_that_is_a_zip_too() -> bytes:
    return picture(print_page(PROSE), "JPEG") + zipped(("run.exe", b"MZ" + bytes(200)))


def zip_bomb() -> bytes:
    """Ten archives, each of ten of a hundred megabytes."""
    inner = zipped(*((f"{number}.txt", bytes(100_000_000)) for number in range(2)))
    return zipped(*((f"{number}.zip", inner) for number in range(10)))


def nested_zip(depth: int = 60) -> bytes:
    data = PROSE.encode()
    for _ in range(depth):
        data = zipped(("inner.zip", data))
    return data


def climbing_zip() -> bytes:
    return zipped(("../../etc/passwd.txt", b"root"), ("/etc/shadow.txt", b"root"))


def good_zip() -> bytes:
    return zipped(("receipt.pdf", text_pdf()), ("note.txt", PROSE.encode()))


def word(text: str = PROSE) -> bytes:
    document = docx.Document()
    for line in text.splitlines():
        document.add_paragraph(line)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word_plus(name: str, data: bytes, *, content_type: str = "application/octet-stream") -> bytes:
    """A good DOCX with one more part."""
    import zipfile

    with zipfile.ZipFile(io.BytesIO(word())) as archive:
        parts = [(info.filename, archive.read(info)) for info in archive.infolist()]
    override = f'<Override PartName="/{name}" ContentType="{content_type}"/></Types>'.encode()
    typed = [
        (part, data.replace(b"</Types>", override) if part == "[Content_Types].xml" else data) for part, data in parts
    ]
    return zipped(*typed, (name, data))


def word_with_macros() -> bytes:
    return word_plus("word/vbaProject.bin", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
                     content_type="application/vnd.ms-office.vbaProject")  # fmt: skip


def word_bomb() -> bytes:
    return word_plus("word/media/image1.bin", bytes(400_000_000))


def laughing_word() -> bytes:
    """A document.xml with a thousand million laughs."""
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    xml = f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY l0 "ha">{entities}]><d>&l9;</d>'
    types = b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    return zipped(("[Content_Types].xml", types), ("word/document.xml", xml.encode()))


def rtf() -> bytes:
    return b"{\\rtf1\\ansi " + PROSE.replace("\n", "\\par ").encode() + b"}"


def deep_rtf() -> bytes:
    return b"{\\rtf1 " + b"{" * 100_000 + b"deep" + b"}" * 100_000 + b"}"


def mail(*, attachment: bytes | None = None) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Earnest money"
    message.set_content(PROSE)
    if attachment is not None:
        message.add_attachment(attachment, maintype="application", subtype="pdf", filename="receipt.pdf")
    return message.as_bytes()
