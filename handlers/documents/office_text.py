"""The text of Word, RTF and mail files, in pages.

A page ends where the document says so, by a break or where Word last laid out a page; what is longer than
`PAGE_CHARACTERS` is divided between lines. The same file always has the same pages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final

from handlers.documents import mail, rtf, word
from handlers.documents.cleaning import clean_text
from jobqueue.errors import JobqueueError, RejectedFile

DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
RTF: Final = "application/rtf"
EML: Final = "message/rfc822"
MSG: Final = "application/vnd.ms-outlook"
ZIP: Final = "application/zip"

MAX_CHARACTERS: Final = 2_000_000
PAGE_CHARACTERS: Final = 6_000
"""About twice a full printed page."""


def pages_of(path: Path, mime_type: str, *, name: str = "the file") -> list[str]:
    """Every page's text, cleaned; at least one page, which may be empty.

    Raises:
        RejectedFile: damaged, or nested too deep.
        LimitExceeded: more than `MAX_CHARACTERS` of text.
    """
    about = path.stat()
    try:
        return list(_pages(path, mime_type, about.st_ino, about.st_mtime_ns, about.st_size))
    except JobqueueError as exc:
        raise type(exc)(f"{name}: {exc}") from exc


def page_of(path: Path, mime_type: str, number: int) -> str:
    """Page ``number`` (from 1) of an accepted file. Raises as `pages_of`, and `RejectedFile` for no such page."""
    pages = pages_of(path, mime_type)
    if number > len(pages):
        raise RejectedFile(f"page {number} is missing: the file ends with page {len(pages)}")
    return pages[number - 1]


def paginate(text: str) -> list[str]:
    r"""Pages of a text in which form feeds end pages; blank ones between breaks are left out.

    >>> paginate("one\f\ftwo"), paginate("")
    (['one', 'two'], [''])
    """
    found = [page for part in text.split("\f") for page in _divided(clean_text(part)) if page.strip()]
    return found or [""]


def _divided(text: str) -> list[str]:
    if len(text) <= PAGE_CHARACTERS:
        return [text]
    pages, start = [], 0
    while len(text) - start > PAGE_CHARACTERS:
        end = text.rfind("\n", start, start + PAGE_CHARACTERS)
        end = end if end > start else text.rfind(" ", start, start + PAGE_CHARACTERS)
        end = end if end > start else start + PAGE_CHARACTERS
        pages.append(text[start:end].strip("\n"))
        start = end
    return [*pages, text[start:].strip("\n")]


# A file's pages are asked for one by one, often in the same child; what tells the file apart is its inode and times.
@lru_cache(maxsize=1)
def _pages(path: Path, mime_type: str, _inode: int, _mtime_ns: int, _size: int) -> tuple[str, ...]:
    return tuple(paginate(READERS[mime_type](path)))


def _rtf(path: Path) -> str:
    return rtf.text_of(path.read_bytes(), max_characters=MAX_CHARACTERS)


def _archive(path: Path) -> str:
    from handlers.documents import children  # noqa: PLC0415  # it names the types by this module

    return children.listing(path)


def _word(path: Path) -> str:
    return word.text_of(path, max_characters=MAX_CHARACTERS)


READERS: Final[dict[str, Callable[[Path], str]]] = {
    DOCX: _word,
    RTF: _rtf,
    EML: lambda path: mail.read_eml(path.read_bytes()).text,
    MSG: lambda path: mail.read_msg(path.read_bytes()).text,
    ZIP: _archive,
}
