"""The document as one flat text that patterns can be simple about, and the way back to verbatim quotes.

The flat text has every run of white space as one character (a line feed where the run holds one, else a space), words
hyphenated at a line's end joined, and typographic quotes and dashes as ASCII. Each of its characters remembers where it
came from, so any span of it becomes a quote of the page as it stands.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from jobqueue.errors import LimitExceeded
from jobqueue.tasks import DocumentText, Quote

MAX_CHARACTERS: Final = 8_000_000
MAX_QUOTE: Final = 600

_ASCII: Final = str.maketrans(
    dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‘’‚‛′", "'") | dict.fromkeys("‐‑‒–—−", "-")
)
_SEAM: Final = re.compile(r"(?<=[a-z])-\n\s{0,8}(?=[a-z])|[\s\u00ad\u200b]+")
_SENTENCE_END: Final = re.compile(
    r"[.;:][\"')]{0,2}\s(?=[A-Z(\"\d])|\n(?=\d{1,3}[.)]|\([a-z\d]{1,3}\)|[A-Z]{2,20}[ .:\n])"
)  # a full stop and the like, a new item, a heading
_LOOK_BACK: Final = 300
_LOOK_AHEAD: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A fact as a span ``start:end`` of the flat text, before it becomes a quote."""

    kind: str
    value: str
    start: int
    end: int
    confidence: float


class FlatText:
    r"""One document, flat.

    Attributes:
        text: the flat text.
        folded: the same in lower case, character for character (so offsets agree).

    Raises:
        LimitExceeded: the document has more than `MAX_CHARACTERS`.

    >>> from jobqueue.tasks import PageText
    >>> page = PageText(number=1, text="The pur-\nchase   price", source="text", confidence=1.0)
    >>> flat = FlatText(DocumentText(pages=[page]))
    >>> flat.text, flat.quote(4, 18).text
    ('The purchase price', 'pur-\nchase   price')
    """

    def __init__(self, document: DocumentText) -> None:
        if document.characters > MAX_CHARACTERS:
            raise LimitExceeded(
                f"the document has {document.characters:,} characters of text; at most {MAX_CHARACTERS:,} are analysed"
            )
        self._pages = [page.text for page in document.pages]
        self._starts = [0]
        for text in self._pages[:-1]:
            self._starts.append(self._starts[-1] + len(text) + 1)  # one more for the line feed that joins pages
        self.text, self._origin = _flatten("\n".join(self._pages))
        self.folded = _fold(self.text)

    def quote(self, start: int, end: int) -> Quote:
        """The verbatim passage behind a span; what runs over to the next page, or beyond `MAX_QUOTE`, is left off."""
        first = self._origin[start]
        page = bisect_right(self._starts, first) - 1
        begin = first - self._starts[page]
        stop = min(self._origin[end - 1] + 1 - self._starts[page], len(self._pages[page]), begin + MAX_QUOTE)
        passage = self._pages[page][begin:stop].rstrip()
        return Quote(page=page + 1, start=begin, end=begin + len(passage), text=passage)

    def sentence(self, start: int, end: int) -> tuple[int, int]:
        """The span of the sentence around a span, at most some hundred characters either way."""
        begin = max(0, start - _LOOK_BACK)
        for match in _SENTENCE_END.finditer(self.text, begin, start):
            begin = match.end()
        match_after = _SENTENCE_END.search(self.text, end, min(len(self.text), end + _LOOK_AHEAD))
        stop = match_after.start() + 1 if match_after else min(len(self.text), end + _LOOK_AHEAD)
        while begin < start and self.text[begin].isspace():
            begin += 1
        return begin, max(stop, end)


def one_line(text: str) -> str:
    r"""``text`` with all white space as single spaces.

    >>> one_line(" 12  Elm\nStreet ")
    '12 Elm Street'
    """
    return " ".join(text.split())


def _flatten(raw: str) -> tuple[str, array[int]]:
    parts: list[str] = []
    origin = array("I")
    done = 0
    for seam in _SEAM.finditer(raw):
        parts.append(raw[done : seam.start()])
        origin.extend(range(done, seam.start()))
        run = seam.group()
        if not run.startswith("-") and run.strip("\u00ad\u200b"):
            parts.append("\n" if "\n" in run else " ")
            origin.append(seam.start())
        done = seam.end()
    parts.append(raw[done:])
    origin.extend(range(done, len(raw)))
    return "".join(parts).translate(_ASCII), origin


def _fold(text: str) -> str:
    folded = text.lower()
    if len(folded) == len(text):
        return folded
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)
