"""What a value is for, judged by the words around it.

Values (dates, amounts, addresses) are found first, without regard to meaning; cues then look at the few hundred
characters before and after each. So the cost of a rule is bounded by the number of values, not by the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeVar

from handlers.contracts.lexicon import pattern

MAX_VALUES: Final = 1_000  # candidates weighed per kind; a contract has some dozens
_FADE: Final = 0.25  # share of its confidence that a cue loses at the far end of its reach


class Span(Protocol):
    """Anything with a place in the flat text."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """A bare span, with the text it covers."""

    start: int
    end: int
    text: str


def stretches(words: re.Pattern[str], text: str, start: int = 0, end: int | None = None) -> Iterator[Stretch]:
    """Where a pattern matches."""
    for match in words.finditer(text, start, len(text) if end is None else end):
        yield Stretch(match.start(), match.end(), match.group())


SpanT = TypeVar("SpanT", bound=Span)


@dataclass(frozen=True, slots=True)
class Cue:
    """Words near a value, and how sure they make us of its meaning.

    Attributes:
        words: searched in lower-case text.
        confidence: 0..1 when the words touch the value; less with distance. Negative: the words speak against.
        reach: characters looked at.
        after: the words follow the value.
        bonus: the words add to what others say, and say nothing alone.
        across: look past the neighbouring value; else it hides what lies beyond it.
    """

    words: re.Pattern[str]
    confidence: float
    reach: int = 80
    after: bool = False
    across: bool = False
    bonus: bool = False


def cue(
    words: str, confidence: float, reach: int = 80, *, after: bool = False, across: bool = False, bonus: bool = False
) -> Cue:
    """A `Cue` with its pattern compiled for the flat text."""
    return Cue(pattern(words), confidence, reach, after, across, bonus)


def best(
    values: Iterable[SpanT], folded: str, cues: Sequence[Cue], *, accept: Callable[[SpanT], bool] = lambda _: True
) -> tuple[SpanT, float] | None:
    """The value that the cues speak for most, the first of equals, with its confidence; None when they are silent.

    >>> from handlers.contracts.dates import dates_in
    >>> text = "signed may 1, 2024; closing date: june 3, 2024"
    >>> found = best(dates_in(text), text, [cue("closing date:? ", 0.9)])
    >>> str(found[0].value), round(found[1], 2)
    ('2024-06-03', 0.9)
    """
    spans = [value for value in islice(values, MAX_VALUES) if accept(value)]
    winner: tuple[SpanT, float] | None = None
    for index, value in enumerate(spans):
        floor = spans[index - 1].end if index else 0
        ceiling = spans[index + 1].start if index + 1 < len(spans) else len(folded)
        weight = _weigh(value, folded, cues, floor, ceiling)
        if weight > (winner[1] if winner else 0.0):
            winner = value, weight
    return winner


def _weigh(value: Span, folded: str, cues: Sequence[Cue], floor: int, ceiling: int) -> float:
    strongest = against = extra = 0.0
    for one in cues:
        gap = _gap(one, folded, value, floor, ceiling)
        if gap is None:
            continue
        weight = one.confidence * (1 - _FADE * gap / one.reach)
        if one.bonus:
            extra += weight
        strongest, against = max(strongest, 0.0 if one.bonus else weight), min(against, weight)
    return max(0.0, min(1.0, strongest + extra + against)) if strongest else 0.0


def _gap(one: Cue, folded: str, value: Span, floor: int, ceiling: int) -> int | None:
    """Characters between the value and the nearest place where the cue's words stand; None where they don't."""
    if one.after:
        stop = value.end + one.reach if one.across else min(value.end + one.reach, ceiling)
        match = one.words.search(folded[value.end : stop])  # a slice, so that "^" is the value's end
        return match.start() if match else None
    begin = max(0, value.start - one.reach)
    last = None
    for match in one.words.finditer(folded, begin if one.across else max(begin, floor), value.start):
        last = match
    return value.start - last.end() if last else None
