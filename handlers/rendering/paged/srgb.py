"""The sRGB colour space (IEC 61966-2-1) as an ICC profile of version 2, which is what PDF/A-1 takes.

Made here, for Pillow makes profiles of version 4, with the time of their making in them.
"""

from __future__ import annotations

import struct
from typing import Final

# The primaries and the white, adapted to D50 as ICC profiles have it, in parts of 65,536.
_WHITE: Final = (0xF6D6, 0x10000, 0xD32D)
_PRIMARIES: Final = {
    b"rXYZ": (0x6FA2, 0x38F5, 0x0390),
    b"gXYZ": (0x6299, 0xB785, 0x18DA),
    b"bXYZ": (0x24A0, 0x0F84, 0xB6CF),
}
_STEPS: Final = 1_024


def srgb_profile() -> bytes:
    """The profile; always the same bytes."""
    name = b"sRGB IEC61966-2.1\0"
    # ASCII, then no Unicode and no Macintosh form of the name.
    description = b"desc" + struct.pack(">II", 0, len(name)) + name + bytes(8 + 3 + 67)
    curve = b"curv" + struct.pack(f">II{_STEPS}H", 0, _STEPS, *(_linear(step / (_STEPS - 1)) for step in range(_STEPS)))
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0No copyright\0", b"wtpt": _xyz(_WHITE)}
    tags |= {tag: _xyz(values) for tag, values in _PRIMARIES.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    directory, data = struct.pack(">I", len(tags)), b""
    first = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}  # the three curves are one
    for tag, content in tags.items():
        if content not in places:
            places[content] = first + len(data)
            data += content + bytes(-len(content) % 4)
        directory += tag + struct.pack(">II", places[content], len(content))
    return _header(first + len(data)) + directory + data


def _header(size_bytes: int) -> bytes:
    return struct.pack(
        ">I4sI4s4s4s6H4s4sI4s4sQI3I4s44x",
        size_bytes, b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ", 2000, 1, 1, 0, 0, 0, b"acsp", b"\0\0\0\0", 0,
        b"\0\0\0\0", b"\0\0\0\0", 0, 0, *_WHITE, b"\0\0\0\0",
    )  # fmt: skip


def _xyz(values: tuple[int, int, int]) -> bytes:
    return b"XYZ " + struct.pack(">I3I", 0, *values)


def _linear(value: float) -> int:
    light = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4  # noqa: PLR2004  # the standard's
    return round(65_535 * light)
