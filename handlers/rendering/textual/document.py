"""A document's stored text as the writers of this package take it: in regions, each placed on its page or not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, TextIO
from xml.sax.saxutils import escape

from pydantic import ValidationError

from jobqueue.errors import InvalidInput, LimitExceeded
from jobqueue.tasks import DocumentText, PageText, PageWord

MAX_TEXT_BYTES: Final = 200_000_000
Box = tuple[int, int, int, int]

# What XML 1.0 can't carry, not even escaped.
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A piece of a page in reading order: a block of placed words, line by line; or text of which no place is known."""

    lines: tuple[tuple[PageWord, ...], ...] = ()
    loose: str = ""


def read_document(path: str) -> DocumentText:
    """The text that recognition has stored, from a file.

    Raises:
        LimitExceeded: it is longer than `MAX_TEXT_BYTES`.
        InvalidInput: it is no such text.
    """
    size_bytes = Path(path).stat().st_size
    if size_bytes > MAX_TEXT_BYTES:
        raise LimitExceeded(
            f"the text has {size_bytes:,} bytes, more than the {MAX_TEXT_BYTES:,} allowed: split the file"
        )
    try:
        return DocumentText.model_validate_json(Path(path).read_bytes())
    except ValidationError as exc:
        raise InvalidInput("the stored text can't be read: run ocr_document again") from exc


def regions(page: PageText) -> Iterator[Region]:
    r"""The page's whole text, in reading order.

    >>> from jobqueue.tasks import pack_words
    >>> page = PageText(number=1, text="Deed\nof trust", source="both", confidence=0.9, width_px=100, height_px=100,
    ...                 word_table=pack_words([PageWord("trust", 8, 0.9, 40, 10, 80, 20, 1, 1)]))
    >>> [(region.loose, [word.text for line in region.lines for word in line]) for region in regions(page)]
    [('Deed\nof', []), ('', ['trust'])]
    """
    block: list[PageWord] = []
    done = 0
    for word in page.words:
        loose = page.text[done : word.start].strip()
        if block and (loose or word.block != block[-1].block):
            yield _placed(block)
            block = []
        if loose:
            yield Region(loose=loose)
        block.append(word)
        done = max(done, word.start + len(word.text))
    if block:
        yield _placed(block)
    if loose := page.text[done:].strip():
        yield Region(loose=loose)


def enclosing(words: Iterable[PageWord]) -> Box:
    """The smallest box around these words."""
    lefts, tops, rights, bottoms = zip(*((word.left, word.top, word.right, word.bottom) for word in words), strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def xml_text(text: str) -> str:
    r"""``text`` for XML, between tags or within double quotes; what XML forbids is left out.

    >>> xml_text('<b a="&\x00">')
    '&lt;b a=&quot;&amp;&quot;&gt;'
    """
    return escape(_ILLEGAL.sub("", text), {'"': "&quot;"})


@contextmanager
def writing(path: str) -> Iterator[TextIO]:
    """A new text file: UTF-8, lines ended by a line feed everywhere."""
    with Path(path).open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        yield file


def _placed(words: list[PageWord]) -> Region:
    return Region(lines=tuple(tuple(line) for _, line in groupby(words, key=lambda word: word.line)))
