"""A PDF stream unpacked up to a limit: never whole, however little of it there is in the file (ISO 32000-1, 7.4)."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable
from typing import Any, Final

import pikepdf

_STEP_BYTES: Final = 1 << 18
_MAX_FILTERS: Final = 8
_BLANKS: Final = re.compile(rb"[\s\x00]+")
_LZW_CLEAR: Final = 256
_LZW_END: Final = 257


class TooLong(Exception):
    """A stream, or what one of its filters gives, is longer than the limit."""


def decoded(stream: pikepdf.Stream, *, max_bytes: int) -> bytes:
    """What a stream's filters make of it; as much of it as readers see where it is damaged.

    Empty where a filter isn't one for drawing orders, but for pictures.

    Raises:
        TooLong: longer than ``max_bytes``, or packed so often that no honest file is.
    """
    names = _filters(stream.stream_dict)
    if len(names) > _MAX_FILTERS:
        raise TooLong
    data = stream.read_raw_bytes()
    for name in names:
        if name not in _DECODERS:
            return b""
        data = _DECODERS[name](data, max_bytes)
    if len(data) > max_bytes:
        raise TooLong
    return data


def _filters(about: Any) -> list[str]:
    given = about.get("/Filter", about.get("/F"))
    if isinstance(given, pikepdf.Name):
        return [str(given)]
    return [str(name) for name in given.as_list()[: _MAX_FILTERS + 1]] if isinstance(given, pikepdf.Array) else []


def _same(data: bytes, _max_bytes: int) -> bytes:
    return data


def _inflate(data: bytes, max_bytes: int) -> bytes:
    unpacker, out = zlib.decompressobj(), bytearray()
    while data and not unpacker.eof:
        try:
            out += unpacker.decompress(data, _STEP_BYTES)
        except zlib.error:  # what came before it is what readers show
            break
        if len(out) > max_bytes:
            raise TooLong
        data = unpacker.unconsumed_tail
    return bytes(out)


def _hex(data: bytes, _max_bytes: int) -> bytes:
    digits = _BLANKS.sub(b"", data.partition(b">")[0])
    try:
        return binascii.unhexlify(digits + b"0" * (len(digits) % 2))
    except binascii.Error:
        return b""


def _ascii85(data: bytes, max_bytes: int) -> bytes:
    body = data.partition(b"~")[0]
    if 4 * body.count(b"z") > max_bytes:
        raise TooLong
    try:
        return base64.a85decode(body, ignorechars=b" \t\n\r\v\f\x00")
    except ValueError:
        return b""


def _run_length(data: bytes, max_bytes: int) -> bytes:
    out, at = bytearray(), 0
    while at < len(data) and (length := data[at]) != 128:  # noqa: PLR2004  # end of data
        if length < 128:  # noqa: PLR2004  # so many bytes, and one, as they are
            out += data[at + 1 : at + 2 + length]
            at += 2 + length
        else:  # one byte, repeated
            out += data[at + 1 : at + 2] * (257 - length)
            at += 2
        if len(out) > max_bytes:
            raise TooLong
    return bytes(out)


def _lzw(data: bytes, max_bytes: int) -> bytes:
    """With the early change of code length that PDF has by default."""
    out, table = bytearray(), [bytes((byte,)) for byte in range(256)] + [b"", b""]
    bits = held = 0
    width, before = 9, b""
    for byte in data:
        held, bits = (held << 8 | byte) & 0xFFFFFF, bits + 8
        if bits < width:
            continue
        bits -= width
        code = held >> bits & ((1 << width) - 1)
        if code == _LZW_END:
            break
        if code == _LZW_CLEAR:
            del table[258:]
            width, before = 9, b""
            continue
        if code > len(table) or (code == len(table) and not before):
            break
        entry = table[code] if code < len(table) else before + before[:1]
        out += entry
        if len(out) > max_bytes:
            raise TooLong
        if before and len(table) < 4096:  # noqa: PLR2004  # codes have 12 bits at most
            table.append(before + entry[:1])
        before = entry
        width = min(12, max(9, (len(table) + 1).bit_length()))
    return bytes(out)


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    **dict.fromkeys(("/FlateDecode", "/Fl"), _inflate),
    **dict.fromkeys(("/LZWDecode", "/LZW"), _lzw),
    **dict.fromkeys(("/RunLengthDecode", "/RL"), _run_length),
    **dict.fromkeys(("/ASCIIHexDecode", "/AHx"), _hex),
    **dict.fromkeys(("/ASCII85Decode", "/A85"), _ascii85),
    "/Crypt": _same,  # undone on reading
}
