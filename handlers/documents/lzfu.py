"""Packed RTF as Outlook keeps it in messages (MS-OXRTFCP)."""

from __future__ import annotations

import struct
from typing import Final

_PACKED: Final = 0x75465A4C
_PLAIN: Final = 0x414C454D
_WINDOW: Final = 4096
_MAX_BYTES: Final = 20_000_000
_PRIMER: Final = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor "
    b"MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20"
    b"\\b\\i\\u\\tab\\tx"
)


def unpacked(data: bytes) -> bytes:
    r"""The RTF; empty where the data is of neither kind. Ends with the data, however long that says it is.

    >>> unpacked(  # the specification's example
    ...     bytes.fromhex("2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af3206865")
    ...     + bytes.fromhex("6c0900206277 05b06c647d0a800fa0")
    ... )
    b'{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n'
    """
    if len(data) < 16:  # noqa: PLR2004  # the header's length
        return b""
    _, raw_size, kind, _ = struct.unpack_from("<4I", data)
    if kind == _PLAIN:
        return data[16 : 16 + raw_size]
    if kind != _PACKED:
        return b""
    window = bytearray(_WINDOW)
    window[: len(_PRIMER)] = _PRIMER
    out, write, at = bytearray(), len(_PRIMER), 16
    limit = min(raw_size, _MAX_BYTES)
    while at < len(data) and len(out) < limit:
        control = data[at]
        at += 1
        for bit in range(8):
            if control >> bit & 1:
                if at + 1 >= len(data):
                    return bytes(out)
                reference = data[at] << 8 | data[at + 1]
                at += 2
                read, length = reference >> 4, (reference & 0xF) + 2
                if read == write:
                    return bytes(out)
                for step in range(length):  # byte by byte: a reference may run into what it writes
                    byte = window[(read + step) % _WINDOW]
                    out.append(byte)
                    window[write] = byte
                    write = (write + 1) % _WINDOW
            elif at < len(data):
                out.append(data[at])
                window[write] = data[at]
                write, at = (write + 1) % _WINDOW, at + 1
    return bytes(out)
