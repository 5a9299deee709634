"""Strings out of hostile files, made safe to store, send and show."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePath
from typing import Final

MAX_METADATA_CHARS: Final = 500
MAX_NAME_CHARS: Final = 120

# Vertical tab, form feed and the Unicode separators end a line; every other control character goes.
_LINE_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")  # UTF-8, and so msgpack, can't carry them
_TRAILING_BLANKS: Final = re.compile("[ \t\xa0]+$", re.MULTILINE)
_BLANKS: Final = (" ", "\t", "\xa0")
_LIGATURES: Final = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_PDF_DATE: Final = re.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-])(\d\d)'?(\d\d)?)?")


def clean_text(text: str) -> str:
    r"""A page's text as everything after this module expects it.

    NFC, typographic ligatures as letters, lines ended by a line feed without blanks before it, no control
    characters, no lone surrogates, no blank lines at either end.

    >>> clean_text("The ﬁrst\x00 buyer  \r\nsigns\f")
    'The first buyer\nsigns'
    """
    # Most texts need none of it, and to see that is much cheaper than to do it.
    if not text.replace("\n", " ").isprintable():
        text = _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _LINE_ENDS.sub("\n", text)))
    if not text.isascii():
        text = text.translate(_LIGATURES)
    if any(f"{blank}\n" in text for blank in _BLANKS) or text.endswith(_BLANKS):
        text = _TRAILING_BLANKS.sub("", text)
    return unicodedata.normalize("NFC", text).strip("\n")


def is_clean(word: str) -> bool:
    r"""Whether words without blanks surely are as `clean_text` leaves them.

    >>> is_clean("buyer"), is_clean("\ufb01rst"), is_clean("bu\x00yer")
    (True, False, False)
    """
    return word.isascii() and word.isprintable()


def clean_line(text: str, *, max_chars: int = MAX_METADATA_CHARS) -> str:
    r"""A name or metadata value on one line of at most ``max_chars`` characters.

    Invisible characters go too, the bidirectional overrides among them, which can make ``fdp.exe`` of ``exe.pdf``.

    >>> clean_line("Deed \n of\u202e trust\x00"), clean_line("abcdef", max_chars=4)
    ('Deed of trust', 'abc…')
    """
    # Cut before the work: a document's title can be as long as the document.
    visible = (c if unicodedata.category(c)[0] not in "CZ" else " " for c in text[: 4 * max_chars])
    line = unicodedata.normalize("NFC", " ".join("".join(visible).split()))
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def shown_name(file_name: str) -> str:
    """An uploaded file's name as messages show it: without folders, on one line, of bounded length.

    >>> shown_name("../offers/deed.pdf"), shown_name("")
    ('deed.pdf', 'the file')
    """
    return clean_line(PurePath(file_name).name, max_chars=MAX_NAME_CHARS) or "the file"


def iso_date(text: str) -> str:
    """A PDF date (ISO 32000-1, 7.9.4) as ISO 8601, or the cleaned string itself where it is none.

    >>> iso_date("D:20250303120000-06'00'"), iso_date("D:2025"), iso_date("last week")
    ('2025-03-03T12:00:00-06:00', '2025-01-01T00:00:00', 'last week')
    """
    line = clean_line(text)
    found = _PDF_DATE.fullmatch(line.rstrip("'"))
    if found is None:
        return line
    year, month, day, hour, minute, second = (int(part) if part else None for part in found.groups()[:6])
    try:
        moment = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0)  # noqa: DTZ001  # zone below
        if found[7]:
            moment = moment.replace(tzinfo=UTC)
        elif found[8]:
            offset = timedelta(hours=int(found[9]), minutes=int(found[10] or 0))
            moment = moment.replace(tzinfo=timezone(offset if found[8] == "+" else -offset))
    except ValueError:  # a 13th month, an offset of 99 hours
        return line
    return moment.isoformat()
