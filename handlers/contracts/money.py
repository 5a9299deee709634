"""Amounts of money in figures and in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Final

from handlers.contracts.lexicon import NUMBER_WORDS, pattern

_FIGURES: Final = pattern(
    r"\$ {0,2}(?P<figure>\d{1,3}(?:[,.] ?\d{3}){1,4}(?:\.\d\d)?|\d{1,12}(?:\.\d\d?)?)(?![\d])(?P<scale> (?:million|"
    r"billion)\b)?|\(?(?P<bare>\d{1,3}(?:,\d{3}){1,4}(?:\.\d\d)?)\)? (?:u\.?s\.? )?dollars\b"
)
_SCALES: Final = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
MAX_AMOUNTS: Final = 5_000
_WORDS_REACH: Final = 180


@dataclass(frozen=True, slots=True)
class Amount:
    """US dollars and the span of the flat text they were read from."""

    value: Decimal
    start: int
    end: int

    @property
    def normal(self) -> str:
        """``"425000.00 USD"``."""
        return f"{self.value:.2f} USD"


def amounts_in(folded: str) -> list[Amount]:
    """The amounts written in figures, in order; at most `MAX_AMOUNTS`, which no honest contract reaches.

    >>> [a.normal for a in amounts_in("the price is $425,000, or $1.5 million; (443,676) dollars a year")]
    ['425000.00 USD', '1500000.00 USD', '443676.00 USD']
    """
    return [_amount(match) for match in islice(_FIGURES.finditer(folded), MAX_AMOUNTS)]


def _amount(match: re.Match[str]) -> Amount:
    digits = match["figure"] or match["bare"]
    whole, dot, cents = digits.rpartition(".")
    if not dot or len(cents) == 3:  # noqa: PLR2004  # "1.350" is a comma misread, not a fraction
        whole, cents = digits, "0"
    value = Decimal(re.sub(r"\D", "", whole) + "." + cents)
    scale = (match["scale"] or "").strip()
    start = match.start() if match["figure"] else match.start("bare")
    return Amount(value * _SCALES.get(scale, 1), start, match.end())


def number_from_words(words: str) -> int | None:
    """The number that lower-case English words say; None when they say none.

    >>> number_from_words("seven million two hundred seventy-five thousand")
    7275000
    """
    total = group = 0
    seen = False
    for word in words.replace("-", " ").split():
        if word in NUMBER_WORDS:
            group += NUMBER_WORDS[word]
        elif word == "hundred":
            group = (group or 1) * 100
        elif word in _SCALES:
            total, group = total + (group or 1) * _SCALES[word], 0
        elif word != "and":
            return None
        seen = seen or word != "and"
    return total + group if seen else None


@dataclass(frozen=True, slots=True)
class WrittenOut:
    """An amount in words and its span."""

    value: int
    start: int
    end: int


_TAIL: Final = pattern(r"(?: and)?(?: ?(?:no|\d\d|xx)/100(?:ths)?)? ?\(?(?: ?(?:u\.?s\.? )?dollars?)?[ (]{0,3}$")
_WORD: Final = re.compile(r"[a-z]+")


def written_before(folded: str, amount: Amount) -> WrittenOut | None:
    """The amount in words right before one in figures, as in "four thousand dollars ($4,000)".

    >>> text = "the sum of four hundred thousand dollars ($450,000)"
    >>> written_before(text, amounts_in(text)[0]).value
    400000
    """
    base = max(0, amount.start - _WORDS_REACH)
    window = folded[base : amount.start]
    tail = _TAIL.search(window)
    stop = tail.start() if tail else len(window)
    words = list(_WORD.finditer(window, 0, stop))
    first = len(words)
    while first and _is_number_word(words[first - 1].group()) and _touch(window, words, first):
        first -= 1
    while first < len(words) and words[first].group() == "and":
        first += 1
    if first == len(words) or window[words[-1].end() : stop].strip():
        return None
    value = number_from_words(" ".join(word.group() for word in words[first:]))
    return WrittenOut(value, base + words[first].start(), base + words[-1].end()) if value is not None else None


def _is_number_word(word: str) -> bool:
    return word in NUMBER_WORDS or word in _SCALES or word in {"hundred", "and"}


def _touch(window: str, words: list[re.Match[str]], first: int) -> bool:
    """Whether only white space, commas or hyphens lie between a word and the one after it."""
    return first == len(words) or not window[words[first - 1].end() : words[first].start()].strip(" \n,-")
