"""A document as PDF/A-1b (ISO 19005-1): each page a picture, its words as invisible text over it.

That no page keeps anything of the source but its looks is what makes the promise one that can be kept: fonts,
transparency, scripts and forms of a file from anywhere conform to nothing.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final

from handlers.rendering.paged.glyphless import GlyphlessFont
from handlers.rendering.paged.invisible import FONT, invisible_text
from handlers.rendering.paged.pictures import PagePicture, page_pictures
from handlers.rendering.paged.srgb import srgb_profile
from handlers.rendering.paged.writer import PdfWriter
from handlers.rendering.textual.document import read_document
from jobqueue.tasks import PageText

_GROUP: Final = 1_000  # an array of PDF 1.4 has 8,191 entries at most
_XMP: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">
<pdfaid:part>1</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def write_pdfa(text_path: str, out_path: str, source_path: str, mime_type: str, engine: str) -> None:
    """Write the document to ``out_path``; the same document gives the same bytes.

    Args:
        text_path: JSON of `jobqueue.tasks.DocumentText`.
        out_path: of the new file.
        source_path: the file that was read, a PDF or a picture; it isn't touched.
        mime_type: its type.
        engine: which PDF engine; see `open_pdf`.

    Raises as `read_document` and `page_pictures`.
    """
    pages = read_document(text_path).pages
    pictures = page_pictures(Path(source_path), mime_type, [page.number for page in pages], engine=engine)
    with Path(out_path).open("wb") as file:
        sheets = _Sheets(PdfWriter(file))
        for page, picture in zip(pages, pictures, strict=True):
            sheets.add(page, picture)
        sheets.close()


class _Sheets:
    """The pages of one file, in groups: a tree of two levels."""

    def __init__(self, pdf: PdfWriter) -> None:
        self._pdf = pdf
        self._font = GlyphlessFont()
        self._font_number = pdf.reserve()
        self._root = pdf.reserve()
        self._groups: dict[int, list[int]] = {}

    def add(self, page: PageText, picture: PagePicture) -> None:
        if not self._groups or len(self._groups[self._last]) == _GROUP:
            self._groups[self._pdf.reserve()] = []
        size = b"%.3f %.3f" % picture.size_pt
        text = invisible_text(page, None, picture.size_pt, self._font)
        image = self._pdf.stream(picture.entries, picture.data)
        drawn = b"q %.3f 0 0 %.3f 0 0 cm /Page Do Q\n%b" % (*picture.size_pt, text)
        content = self._pdf.stream(b"/Filter /FlateDecode", zlib.compress(drawn))
        sheet = self._pdf.add(
            b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 %b] /Contents %d 0 R "
            b"/Resources << /XObject << /Page %d 0 R >> /Font << /%b %d 0 R >> >> >>"
            % (self._last, size, content, image, FONT.encode(), self._font_number)
        )
        self._groups[self._last].append(sheet)

    def close(self) -> None:
        pdf, total = self._pdf, sum(map(len, self._groups.values()))
        for group, sheets in self._groups.items():
            pdf.add(
                b"<< /Type /Pages /Parent %d 0 R /Kids [%b] /Count %d >>" % (self._root, _refs(sheets), len(sheets)),
                number=group,
            )
        kids = _refs(list(self._groups))
        pdf.add(b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, total), number=self._root)
        self._font.add_to(pdf, number=self._font_number)
        profile = pdf.stream(b"/N 3 /Filter /FlateDecode", zlib.compress(srgb_profile()))
        metadata = pdf.stream(b"/Type /Metadata /Subtype /XML", _XMP.encode())  # plain: readable without a PDF library
        catalogue = pdf.add(
            b"<< /Type /Catalog /Pages %d 0 R /Metadata %d 0 R /OutputIntents [<< /Type /OutputIntent /S /GTS_PDFA1 "
            b"/OutputConditionIdentifier (sRGB IEC61966-2.1) /Info (sRGB IEC61966-2.1) /DestOutputProfile %d 0 R >>] >>"
            % (self._root, metadata, profile)
        )
        pdf.close(root=catalogue)

    @property
    def _last(self) -> int:
        return next(reversed(self._groups))


def _refs(numbers: list[int]) -> bytes:
    return b" ".join(b"%d 0 R" % number for number in numbers)
