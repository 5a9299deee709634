"""A PDF 1.4 file written object by object, so that a document of any length needs the memory of one page.

Held to what PDF/A-1 (ISO 19005-1, 6.1) asks of a file's structure: a plain cross-reference table, a binary comment
after the header, an identifier, and no compression of objects. The same objects give the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Final

_HEADER: Final = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"


class PdfWriter:
    r"""Writes to a binary file that is positioned at its beginning.

    >>> import io
    >>> file = io.BytesIO()
    >>> pdf = PdfWriter(file)
    >>> pages = pdf.add(b"<< /Type /Pages /Kids [] /Count 0 >>")
    >>> pdf.close(root=pdf.add(b"<< /Type /Catalog /Pages %d 0 R >>" % pages))
    >>> file.getvalue()[:8], file.getvalue()[-6:]
    (b'%PDF-1.4', b'%%EOF\n')
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._at_bytes = 0
        self._offsets: list[int] = []  # 0: promised, and not there yet
        self._put(_HEADER)

    def reserve(self) -> int:
        """The number of an object that is added later."""
        self._offsets.append(0)
        return len(self._offsets)

    def add(self, body: bytes, *, number: int = 0) -> int:
        """Write an object, under a reserved ``number`` or the next; which it is."""
        number = number or self.reserve()
        self._offsets[number - 1] = self._at_bytes
        self._put(b"%d 0 obj\n%b\nendobj\n" % (number, body))
        return number

    def stream(self, entries: bytes, data: bytes, *, number: int = 0) -> int:
        """Write a stream with these dictionary entries and data, which is encoded as they say; its number."""
        head = b"<< %b /Length %d >>\nstream\n" % (entries, len(data))
        return self.add(head + data + b"\nendstream", number=number)

    def close(self, *, root: int) -> None:
        """Write the table of objects and the trailer; ``root`` is the catalogue's number."""
        start = self._at_bytes
        table = b"".join(b"%010d 00000 n \n" % offset for offset in self._offsets)
        size = len(self._offsets) + 1
        self._put(b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table))
        name = self._digest.hexdigest()[:32].encode()
        self._put(b"trailer\n<< /Size %d /Root %d 0 R /ID [<%b> <%b>] >>\n" % (size, root, name, name))
        self._put(b"startxref\n%d\n%%%%EOF\n" % start)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._at_bytes += len(data)
