"""Words divided at a line's end, made whole again where that is safe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from jobqueue.tasks import PageWord

_SOFT: Final = "\u00ad"
_DIVIDED: Final = re.compile(rf"([^\W\d_]+)([-{_SOFT}])\n([^\W\d_]+)")
_WORD: Final = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def is_divided(text: str) -> bool:
    """Whether a line ends with a hyphen."""
    return "-\n" in text or f"{_SOFT}\n" in text


def made_whole(text: str, words: Sequence[PageWord]) -> tuple[str, Sequence[PageWord]]:
    r"""A page's text and words without the hyphens that only a line's end asked for.

    A soft hyphen always was one. A plain hyphen is one where the page has the whole word elsewhere and the hyphenated
    one nowhere: what is no word is not made one, and ``non-\nrefundable`` stays. The whole word goes to the end of
    the upper line, with the box of its first part.

    >>> made_whole("a contin-\ngency or no contingency", [
    ...     PageWord("a", 0, 1.0, 0, 0, 5, 9, 0, 0), PageWord("contin-", 2, 1.0, 9, 0, 60, 9, 0, 0),
    ...     PageWord("gency", 10, 1.0, 0, 10, 40, 19, 0, 1), PageWord("or", 16, 1.0, 44, 10, 50, 19, 0, 1)])[0]
    'a contingency\nor no contingency'
    """
    if not is_divided(text):
        return text, words
    after = {first.start + len(first.text): second for first, second in pairwise(words)}
    known = set(_WORD.findall(text.lower()))
    cuts = [  # where a hyphen and the line's end after it go
        match.start(2)
        for match in _DIVIDED.finditer(text)
        if match[3][0].islower()
        and (match[2] == _SOFT or _is_one_word(match[1].lower(), match[3].lower(), known))
        and (second := after.get(match.end(2)))
        and second.start == match.start(3)
    ]
    return _without(text, words, cuts) if cuts else (text, words)


def _is_one_word(one: str, other: str, known: set[str]) -> bool:
    return one + other in known and f"{one}-{other}" not in known


def _without(text: str, words: Sequence[PageWord], cuts: Iterable[int]) -> tuple[str, list[PageWord]]:
    pieces: list[str] = []
    whole: list[PageWord] = []
    begin, rest = 0, iter(words)
    moved = 0
    for cut in cuts:
        for word in rest:
            end = word.start + len(word.text)
            if end != cut + 1:
                whole.append(word._replace(start=word.start - moved))
                continue
            second = next(rest)
            whole.append(word._replace(text=word.text[:-1] + second.text, start=word.start - moved))
            stop = second.start + len(second.text)
            break
        pieces.append(text[begin:cut])
        pieces.append(text[cut + 2 : stop])
        begin = stop
        if text[stop : stop + 1] == " ":  # the line ends after the whole word
            pieces.append("\n")
            begin += 1
        moved += 2
    whole += [word._replace(start=word.start - moved) for word in rest]
    return "".join([*pieces, text[begin:]]), whole
