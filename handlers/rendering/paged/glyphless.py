"""A font without shapes, for text that is there to be found and not to be seen.

Every character has the same empty glyph, half an em wide, and its Unicode value by the font's ToUnicode map: so one
font of a few hundred bytes carries every script.
"""

from __future__ import annotations

import struct
import zlib
from itertools import accumulate
from typing import Final

from handlers.rendering.paged.writer import PdfWriter

ADVANCE: Final = 0.5
"""Width of a character, in ems."""
DESCENT: Final = 0.2
"""How far it reaches below the baseline, in ems; above it is the rest of one em."""

_EM: Final = 1_000
_BLOCK: Final = 100  # as many mappings as one block of a CMap may have
_MAX_CHARACTERS: Final = 65_000  # that two bytes can name
_STRING: Final = 30_000  # characters of two bytes; a string of PDF 1.4 has 65,535 bytes at most
_UNKNOWN: Final = "\ufffd"
_SHOWN_UNKNOWN: Final = "\u25a1"  # readers take a mapping to U+FFFD for none, and show the number


class GlyphlessFont:
    """Gives a number to every character that it is asked for.

    >>> font = GlyphlessFont()
    >>> font.show("Aß"), font.show("ßA")
    (b'<00010002> Tj', b'<00020001> Tj')
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def show(self, text: str) -> bytes:
        """The operators that show ``text`` in this font; U+FFFD, and a 65,001st character, as a white square."""
        codes = [b"%04X" % self._number(char) for char in text]
        return b" ".join(
            b"<%b> Tj" % b"".join(codes[start : start + _STRING]) for start in range(0, len(codes), _STRING)
        )

    def add_to(self, pdf: PdfWriter, *, number: int = 0) -> int:
        """Write the font, once all text is encoded; the object's number."""
        program = _program()
        file = pdf.stream(b"/Length1 %d /Filter /FlateDecode" % len(program), zlib.compress(program))
        descriptor = pdf.add(
            b"<< /Type /FontDescriptor /FontName /ABCDEF+Glyphless /Flags 4 /ItalicAngle 0 /StemV 80 "
            b"/FontBBox [0 -200 500 800] /Ascent 800 /Descent -200 /CapHeight 800 /FontFile2 %d 0 R /CIDSet %d 0 R >>"
            % (file, pdf.stream(b"/Filter /FlateDecode", zlib.compress(self._cid_set())))
        )
        glyphs = pdf.stream(b"/Filter /FlateDecode", zlib.compress(b"\0\1" * (len(self._numbers) + 1)))
        descendant = pdf.add(
            b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /ABCDEF+Glyphless /DW 500 "
            b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
            b"/CIDToGIDMap %d 0 R /FontDescriptor %d 0 R >>" % (glyphs, descriptor)
        )
        unicode = pdf.stream(b"/Filter /FlateDecode", zlib.compress(self._to_unicode()))
        return pdf.add(
            b"<< /Type /Font /Subtype /Type0 /BaseFont /ABCDEF+Glyphless /Encoding /Identity-H "
            b"/DescendantFonts [%d 0 R] /ToUnicode %d 0 R >>" % (descendant, unicode),
            number=number,
        )

    def _number(self, char: str) -> int:
        if char == _UNKNOWN or (char not in self._numbers and len(self._numbers) >= _MAX_CHARACTERS):
            char = _SHOWN_UNKNOWN
        return self._numbers.setdefault(char, len(self._numbers) + 1)

    def _cid_set(self) -> bytes:
        bits = "1" * (len(self._numbers) + 1)
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")

    def _to_unicode(self) -> bytes:
        lines = [
            b"<%04X> <%b>" % (number, char.encode("utf-16-be", "replace").hex().upper().encode())
            for char, number in self._numbers.items()
        ]
        blocks = [lines[start : start + _BLOCK] for start in range(0, len(lines), _BLOCK)]
        return _CMAP % b"".join(
            b"%d beginbfchar\n%b\nendbfchar\n" % (len(block), b"\n".join(block)) for block in blocks
        )


_CMAP: Final = b"""/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
%bendcmap
CMapName currentdict /CMap defineresource pop
end
end
"""


def _program() -> bytes:
    """A TrueType program of two glyphs, .notdef and the one for all, both without an outline (OpenType 1.9)."""
    ascent, descent, advance = 800, -200, round(ADVANCE * _EM)
    tables = {
        b"glyf": bytes(12),  # of no contours, in no space, with no instructions
        b"head": struct.pack(
            ">4IHHQQ4hHHhhh",
            0x10000, 0x10000, 0, 0x5F0F3CF5, 0, _EM, 0, 0, 0, descent, advance, ascent, 0, 8, 2, 0, 0,
        ),
        b"hhea": struct.pack(">I3hH3h3h4hhH", 0x10000, ascent, descent, 0, advance, *(0,) * 3, 1, *(0,) * 7, 2),
        b"hmtx": struct.pack(">HhHh", advance, 0, advance, 0),
        b"loca": struct.pack(">3H", 0, 0, 12 // 2),
        b"maxp": struct.pack(">I14H", 0x10000, 2, *(0,) * 5, 2, *(0,) * 7),
    }  # fmt: skip
    padded = {tag: data + bytes(-len(data) % 4) for tag, data in tables.items()}
    first = 12 + 16 * len(tables)
    offsets = accumulate((len(data) for data in padded.values()), initial=first)
    directory = b"".join(
        tag + struct.pack(">III", _checksum(padded[tag]), offset, len(data))
        for (tag, data), offset in zip(tables.items(), offsets, strict=False)
    )
    return struct.pack(">IHHHH", 0x10000, len(tables), 64, 2, 32) + directory + b"".join(padded.values())


def _checksum(data: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f">{len(data) // 4}I", data)
    return sum(words) & 0xFFFFFFFF
