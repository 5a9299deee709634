"""Plain text files: which bytes are text, and in which encoding."""

from __future__ import annotations

import codecs
import re
from typing import Final

MAX_CHARACTERS: Final = 2_000_000  # a thousand dense pages

_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")  # tab, line ends and form feed are text


def decode(data: bytes) -> str | None:
    r"""The text of a file's bytes, or None when they are no text.

    UTF-8, UTF-16 with a byte order mark, else Windows-1252; a control character says that it is something else.

    >>> decode("Café".encode()), decode("Café".encode("utf-16")), decode("Café".encode("cp1252")), decode(b"a\x00b")
    ('Café', 'Café', 'Café', None)
    """
    marked = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    for encoding in (marked,) if marked else ("utf-8", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if _CONTROLS.search(text) else text
    return None
