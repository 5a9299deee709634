r"""The text of RTF documents, and what in them is active.

One pass over the tokens, with a stack of open groups. Destinations that hold no text of the document (fonts, pictures,
objects, and all marked ``\*``) are passed over.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import Final

from jobqueue.errors import LimitExceeded, RejectedFile

MAGIC: Final = b"{\\rtf"
MAX_DEPTH: Final = 1_000
_TOKEN: Final = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})?[ ]?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)", re.DOTALL
)
_ACTIVE: Final = re.compile(rb"\\(objdata|objocx|objemb|objautlink|objlink|template)(?![a-z])", re.IGNORECASE)
_DDE: Final = re.compile(rb"\\fldinst\b[^}]{0,200}?\bDDE(?:AUTO)?\b", re.IGNORECASE)
_SILENT: Final = frozenset(
    ("fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "fldinst", "listtable", "listoverridetable",
     "revtbl", "rsidtbl", "generator", "filetbl", "xmlnstbl", "themedata", "datastore", "nonshppict", "template",
     "bkmkstart", "bkmkend")
)  # fmt: skip
_CHARACTERS: Final = {
    "par": "\n", "line": "\n", "row": "\n", "sect": "\n", "page": "\f", "pagebb": "\f", "tab": "\t", "cell": " | ",
    "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "bullet": "•",
    "emspace": " ", "enspace": " ",
}  # fmt: skip
_SYMBOLS: Final = {b"~": "\xa0", b"_": "-", b"\\": "\\", b"{": "{", b"}": "}", b"\r": "\n", b"\n": "\n"}


@dataclass(slots=True)
class _Group:
    silent: bool = False
    skip: int = 1
    """Characters that stand after a ``\\u`` for readers without Unicode."""


@dataclass(slots=True)
class _Reader:
    data: bytes
    max_characters: int
    encoding: str = "cp1252"
    groups: list[_Group] = field(default_factory=lambda: [_Group()])
    out: list[str] = field(default_factory=list)
    characters: int = 0
    to_skip: int = 0
    star: bool = False

    def read(self) -> str:
        position = 0
        while found := _TOKEN.match(self.data, position):
            position = found.end()
            word, number, code, symbol, brace, plain = found.groups()
            if brace:
                self._brace(brace)
            elif word:
                position += self._word(word.decode().lower(), int(number) if number else None)
            elif code:
                self._text(bytes.fromhex(code.decode()).decode(self.encoding, "replace"), skippable=True)
            elif symbol == b"*":
                self.star = True
            elif symbol:
                self._text(_SYMBOLS.get(symbol, ""))
            elif plain:
                self._text(plain.decode(self.encoding, "replace"), skippable=True)
        return "".join(self.out)

    def _brace(self, brace: bytes) -> None:
        self.star, self.to_skip = False, 0
        if brace == b"{":
            if len(self.groups) > MAX_DEPTH:
                raise RejectedFile(f"its groups are nested more than {MAX_DEPTH:,} deep")
            top = self.groups[-1]
            self.groups.append(_Group(silent=top.silent, skip=top.skip))
        elif len(self.groups) > 1:
            self.groups.pop()

    def _word(self, word: str, number: int | None) -> int:
        """Take a control word; how many raw bytes follow it that are no text."""
        group = self.groups[-1]
        if self.star or word in _SILENT:
            group.silent, self.star = True, False
        if word == "bin":
            return max(0, number or 0)
        if word == "uc":
            group.skip = max(0, min(number or 0, 32))
        elif word == "u" and number is not None:
            self._text(chr(number & 0xFFFF))
            self.to_skip = group.skip
        elif word == "ansicpg":
            self.encoding = _encoding(number)
        elif word in _CHARACTERS:
            self._text(_CHARACTERS[word])
        return 0

    def _text(self, text: str, *, skippable: bool = False) -> None:
        if skippable and self.to_skip:
            text, self.to_skip = text[self.to_skip :], max(0, self.to_skip - len(text))
        if text and not self.groups[-1].silent:
            self.out.append(text)
            self.characters += len(text)
            if self.characters > self.max_characters:
                raise LimitExceeded(f"it holds more than the {self.max_characters:,} characters allowed for text")


def text_of(data: bytes, *, max_characters: int) -> str:
    r"""The document's text; a form feed ends a page.

    Raises:
        RejectedFile: nested too deep.
        LimitExceeded: too much text.

    >>> text_of(rb"{\rtf1{\fonttbl{\f0 A;}}Caf\'e9 \u8364? 5\par {\*\secret no}Buyer\page Seller}", max_characters=99)
    'Café € 5\nBuyer\x0cSeller'
    """
    text = _Reader(data, max_characters).read()
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # pairs of \u are one character


def active_words(data: bytes) -> set[str]:
    r"""The control words of a document that bring in objects, templates or fields with commands.

    >>> sorted(active_words(rb"{\rtf1{\object\objemb{\*\objdata 0105}}{\field{\*\fldinst DDEAUTO x}}"))
    ['dde', 'objdata', 'objemb']
    """
    words = {found[1].decode().lower() for found in _ACTIVE.finditer(data)}
    return words | {"dde"} if _DDE.search(data) else words


def _encoding(codepage: int | None) -> str:
    try:
        return codecs.lookup(f"cp{codepage}").name
    except LookupError:
        return "cp1252"
