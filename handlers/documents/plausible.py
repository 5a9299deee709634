"""Whether a text layer can be what its page says.

Layers lie: fonts that don't say which characters their glyphs are, letters shifted by a subset font's numbering, and
what an old recognition made of a bad scan. Told apart by the characters first and the shape of the words then; no
dictionary, which would tell names and addresses from words and nothing else.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_MIN_CHARACTERS: Final = 16
_MIN_LETTER_SHARE: Final = 0.5
_MAX_UNMAPPED_SHARE: Final = 0.05
_MIN_WORDS: Final = 20  # fewer can be initials, or a table's numbers
_MIN_SHAPELY_SHARE: Final = 0.85  # nearly 1 in contracts in English, German, Spanish; 0.4 to 0.8 in shifted letters
_JUDGED_CHARACTERS: Final = 2_000  # a part of a page is like the rest of it
_FILLERS: Final = re.compile(r"([_.\-–—·…*=])\1{2,}")  # blanks to fill in, and leaders
_UNMAPPED: Final = re.compile("[\ufffd\ue000-\uf8ff]")  # glyphs without a character, or with a private one
_ASCII_OTHERS: Final = bytes(code for code in range(128) if not chr(code).isalnum())
_LATIN_WORD: Final = re.compile(r"(?<![^\W_])[A-Za-zÀ-ɏ]{3,}(?![^\W_])")
_SHAPELY: Final = re.compile(
    r"(?=.{0,5}[aeiouyà-æè-ïò-öø-ýœ])"  # a vowel early on ...
    r"(?!.*q(?!u))"
    r"(?!.*[bcdfghjklmnpqrstvwxz]{6})"  # ... no heap of consonants ...
    r"(?:[^A-ZÀ-Þ]+|[A-ZÀ-Þ][^A-ZÀ-Þ]+|[A-ZÀ-Þ][^A-ZÀ-Þ]{1,3}[A-ZÀ-Þ][^A-ZÀ-Þ]+)"  # ... capitals where they belong
    r"|[A-ZÀ-Þ]+"  # a heading, or an abbreviation
)


def plausible(text: str) -> bool:
    """Whether a text layer is long enough, mostly letters and digits, its glyphs mapped and its words shaped as words.

    >>> plausible("Buyer: ____________  Price: $425,000"), plausible("Page 3")
    (True, False)
    """
    if letters(text) < max(_MIN_CHARACTERS, _MIN_LETTER_SHARE * len(text)):  # else blanks and fillers don't matter
        characters = re.sub(r"\s", "", _FILLERS.sub("", text))
        if len(characters) < _MIN_CHARACTERS or letters(characters) < _MIN_LETTER_SHARE * len(characters):
            return False
    return sound(text)


def letters(text: str) -> int:
    """How many letters and digits a text has."""
    return len(text.encode().translate(None, _ASCII_OTHERS)) if text.isascii() else sum(map(str.isalnum, text))


def sound(text: str) -> bool:
    """Whether nearly all of a text's glyphs have a character, and its words the shape of words."""
    unmapped = 0 if text.isascii() else len(_UNMAPPED.findall(text))
    return unmapped <= _MAX_UNMAPPED_SHARE * len(text) and _shapely(text)


def _shapely(text: str) -> bool:
    """Whether its Latin words look as if they could be pronounced; a text in other letters is not judged."""
    words = _LATIN_WORD.findall(text[:_JUDGED_CHARACTERS])
    if len(words) < _MIN_WORDS:
        return True
    return sum(map(_is_shapely, words)) >= _MIN_SHAPELY_SHARE * len(words)


@lru_cache(maxsize=4_096)  # a document says much the same on every page
def _is_shapely(word: str) -> bool:
    return _SHAPELY.fullmatch(word) is not None
