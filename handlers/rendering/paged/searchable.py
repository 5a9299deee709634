"""A PDF made searchable: the source as it is, with what was recognised on its pages as invisible text under them.

What a page has of its own stays: pictures, fonts, links, and its text layer where it has one. No claim of PDF/A: see
`handlers.rendering.paged.archive` for that.
"""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handlers.documents.pdf_file import PdfSource, opened
from handlers.rendering.paged.archive import write_pdfa
from handlers.rendering.paged.glyphless import GlyphlessFont
from handlers.rendering.paged.invisible import FONT, invisible_text
from handlers.rendering.paged.pictures import PDF
from handlers.rendering.paged.writer import PdfWriter
from handlers.rendering.textual.document import read_document
from jobqueue.tasks import PageSource, PageText, PageWord

if TYPE_CHECKING:
    import pikepdf

_MAX_DEPTH: Final = 50
_HARMLESS_ACTIONS: Final = {"/GoTo", "/URI"}


def write_searchable(text_path: str, out_path: str, source_path: str, mime_type: str, engine: str) -> None:
    """Write the document to ``out_path``. Arguments and errors as `write_pdfa`, which pictures go to.

    What would run by itself is left out, and signatures lose their values, not their looks: they vouch for the source,
    which isn't touched, and would be broken in a copy.

    Raises:
        RejectedFile: the source is damaged.
    """
    if mime_type != PDF:
        write_pdfa(text_path, out_path, source_path, mime_type, engine)
        return
    import pikepdf

    pages = read_document(text_path).pages
    source = Path(source_path)
    with opened(PdfSource(path=source, name="the file", size_bytes=source.stat().st_size)) as pdf:
        font = GlyphlessFont()
        shared = pdf.make_indirect(pikepdf.Dictionary())  # filled once all characters are known
        for page, sheet in zip(pages, pdf.pages, strict=False):
            _defuse(sheet.obj)
            if words := _recognised(page):
                name = str(sheet.add_resource(shared, pikepdf.Name.Font, pikepdf.Name(f"/{FONT}")))
                sheet.contents_add(_content(page, words, sheet, font, name), prepend=True)
        _fill(pdf, shared, font)
        _defuse(pdf.Root)
        _unsign(pdf.Root)
        pdf.save(out_path, encryption=False, deterministic_id=True)


def _recognised(page: PageText) -> list[PageWord]:
    """The words that the page doesn't have as text already."""
    words = list(page.words)
    if page.source is PageSource.BOTH:  # a layer's words are all sure, and in blocks of their own
        seen = {word.block for word in words if word.confidence < 1}
        return [word for word in words if word.block in seen]
    return words if page.source is PageSource.OCR else []


def _content(page: PageText, words: list[PageWord], sheet: pikepdf.Page, font: GlyphlessFont, name: str) -> bytes:
    """The words over the page as it is seen: within its crop box, turned as the page says."""
    x0, y0, x1, y1 = (float(side) for side in sheet.cropbox)
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    width, height, turn = x1 - x0, y1 - y0, _rotation(sheet)
    seen = (height, width) if turn in {90, 270} else (width, height)
    matrix = {
        90: (0, 1, -1, 0, x1, y0),
        180: (-1, 0, 0, -1, x1, y1),
        270: (0, -1, 1, 0, x0, y1),
    }.get(turn, (1, 0, 0, 1, x0, y0))
    text = invisible_text(page, words, seen, font, name=name.removeprefix("/"))
    return b"q %b cm\n%b\nQ\n" % (b" ".join(b"%.4f" % number for number in matrix), text)


def _rotation(sheet: pikepdf.Page) -> int:
    node: Any = sheet.obj
    for _ in range(_MAX_DEPTH):
        if node is None or "/Rotate" in node:
            break
        node = node.get("/Parent")
    turn = node.get("/Rotate") if node is not None else 0
    return int(turn) % 360 if isinstance(turn, int) else 0


def _fill(pdf: pikepdf.Pdf, shared: Any, font: GlyphlessFont) -> None:
    import pikepdf

    file = io.BytesIO()
    carrier = PdfWriter(file)
    number = font.add_to(carrier)
    pages = carrier.add(b"<< /Type /Pages /Kids [] /Count 0 >>")
    carrier.close(root=carrier.add(b"<< /Type /Catalog /Pages %d 0 R /Font %d 0 R >>" % (pages, number)))
    with pikepdf.open(file) as other:
        for key, value in pdf.copy_foreign(other.Root.Font).items():
            shared[key] = value


def _defuse(holder: Any) -> None:
    """Take what would run by itself off the catalogue, or off a page and its annotations."""
    for key in ("/OpenAction", "/AA"):
        if key in holder:
            del holder[key]
    if "/Names" in holder and "/JavaScript" in holder.Names:
        del holder.Names["/JavaScript"]
    annotations = holder.get("/Annots")
    for note in annotations if annotations is not None else ():
        if "/AA" in note:
            del note["/AA"]
        if "/A" in note and note.A.get("/S") not in _HARMLESS_ACTIONS:
            del note["/A"]


def _unsign(root: Any) -> None:
    form = root.get("/AcroForm")
    if form is None:
        return
    for holder, key in ((root, "/Perms"), (form, "/SigFlags")):
        if key in holder:
            del holder[key]
    waiting = list(form.get("/Fields", []))
    seen: set[tuple[int, int]] = set()
    while waiting:
        field = waiting.pop()
        if field.is_indirect and field.objgen in seen:
            continue
        seen.add(field.objgen)
        waiting += list(field.get("/Kids", []))
        if field.get("/FT") == "/Sig" and "/V" in field:
            del field["/V"]
