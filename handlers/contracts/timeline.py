"""The dates of a contract's life: agreement, closing, term, deadlines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from handlers.contracts.cues import MAX_VALUES, Cue, Stretch, best, cue, stretches
from handlers.contracts.dates import Dated, dates_in
from handlers.contracts.lexicon import pattern
from handlers.contracts.pages import FlatText, Found, one_line

_HEAD: Final = 12_000  # characters of the opening, where an agreement's own date stands
_OTHER_PAPER: Final = cue(
    r"\b(?:that certain|original|ground|prior|existing|master|previous|proposal|letter|commitment|plat|survey|"
    r"title)\b",
    -0.5,
    110,
)

_AGREEMENT: Final = (
    cue(
        r"\b(?:made|entered into|executed|made effective|effective)\b(?:,? (?:and|entered|executed|into|effective|"
        r"delivered|dated|is|be|as of|as|on|to be|this|the)){0,8}[, ]{0,2}",
        0.95,
        70,
    ),
    cue(r"\beffective date\b.{0,3} ?(?:means|shall mean|is|shall be|of)?", 0.85, 60),
    cue(
        r"\b(?:date of (?:this )?(?:agreement|contract|offer|lease)|(?:agreement|contract|offer|lease|"
        r"reference) date)",
        0.9,
        40,
    ),
    cue(r"\b(?:is|be) (?:effective )?dated\b", 0.9, 40),
    cue(r"\bdated?\b", 0.7, 40),
    cue(r"\bas of\b", 0.7, 25),
    cue(r"\bthis\b", 0.6, 14),
    cue(
        r"^.{0,6}\(?(?:the|this|herein)? ?\"?(?:effective|agreement|contract|execution|lease) date", 0.9, 40, after=True
    ),
    _OTHER_PAPER,
)
_EXECUTION: Final = (
    cue(r"\b(?:executed|signed|set (?:his|her|its|their) hands?|duly executed|as of)\b", 0.6, 90),
    _OTHER_PAPER,
)
_CLOSING: Final = (
    cue(r"\bclosing date\b", 0.95, 160),
    cue(r"\b(?:date of closing|close of escrow|settlement date|settlement)\b", 0.85, 160),
    cue(r"\bclos(?:ing|ed?)\b", 0.75, 120),
    cue(r"^.{0,8}\"?(?:the |outside )?closing date", 0.9, 50, after=True),
)
_COMMENCEMENT: Final = (
    cue(r"\bcommenc(?:ement|ing|e|es)\b", 0.85, 110),
    cue(r"\b(?:beginning|starting|start|begins?)\b", 0.75, 80),
    cue(r"\bterm\b[^.]{0,160}\b(?:commenc\w+|begin\w*|start\w*|from)\b", 0.95, 240),
    cue(r"^[^.]{0,60}commencement date", 0.9, 80, after=True),
    cue(r"\bday of occupancy\b", 0.6, 60),
    cue(r"\b(?:rent|extension|renewal|option|construction)\b", -0.15, 60),
    cue(r"\b(?:original lease|extension term|renewal term|right of first)\b", -0.3, 200),
)
_EXPIRATION: Final = (
    cue(r"\bexpir(?:ation|ing|es?|y)\b", 0.85, 80),
    cue(r"\bend(?:ing|s)?\b", 0.8, 60),
    cue(r"\bterm\b[^.]{0,260}\b(?:expir\w+|end(?:ing|s)?|terminat\w+|until|through)\b", 0.9, 320, across=True),
    cue(r"\bscheduled to (?:expire|terminate)\b", 0.85, 60),
    cue(r"^[^.]{0,60}expiration date", 0.9, 80, after=True),
    cue(r"\b(?:hereby extended|shall be extended|extension)\b", 0.1, 240, across=True, bonus=True),
    cue(r"\bcurrently (?:scheduled|expires)\b", -0.1, 60),
)
_INSPECTION: Final = (
    cue(
        r"\b(?:inspection|due diligence|feasibility|option|study|investigation)(?: \w+){0,2} (?:period|deadline|date|"
        r"contingency)\b",
        0.85,
        220,
    ),
    cue(r"\binspections?\b", 0.6, 120),
)
_FINANCING: Final = (
    cue(
        r"\b(?:financing|loan|mortgage)(?: \w+){0,2} (?:contingency|deadline|period|date|commitment|approval)\b",
        0.85,
        220,
    ),
    cue(r"\b(?:obtain|secur)(?:e|ing)?(?: \w+){0,3} (?:financing|loan|mortgage)\b", 0.7, 200),
)
_DAYS: Final = pattern(
    r"\b(?:[a-z]{3,9}(?:-[a-z]{3,5})? )?\(?\d{1,3}\)? (?:calendar |business |banking |working )?days? (?:after|from|"
    r"following|of|before|prior to)(?: [\w']+){1,5}? (?:date|agreement|acceptance|contract|execution|closing|offer)\b"
)
_WORDS: Final = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[a-z]{3,9}teen|twenty|thirty|forty|sixty)"
)
_TERM: Final = pattern(
    rf"\bterm\b[^.]{{0,160}}?\b(?:of|is|be|"
    rf"for)\b(?: \w+){{0,3}}? (?P<term>(?:{_WORDS}(?:[ -][a-z]{{3,5}})? ?)?\(?\d{{1,3}}\)? (?:full |calendar |"
    rf"consecutive )*(?:years?|months?)|{_WORDS} (?:years?|months?))\b"
)


def find_dates(flat: FlatText, *, lease: bool) -> Iterator[Found]:
    """The agreement's date and those of its kind of contract: the likeliest one of each."""
    dates = dates_in(flat.folded)
    agreement = _pick(flat, "agreement_date", [d for d in dates if d.start < _HEAD], _AGREEMENT)
    yield from agreement or _pick(flat, "agreement_date", dates[-12:], _EXECUTION)
    if lease:
        yield from _pick(flat, "commencement_date", dates, _COMMENCEMENT)
        yield from _pick(flat, "expiration_date", dates, _EXPIRATION)
        term = _TERM.search(flat.folded)
        if term:
            start, end = term.span("term")
            yield Found(kind="term", value=one_line(flat.text[start:end]), start=start, end=end, confidence=0.8)
        return
    closing = _pick(flat, "closing_date", dates, _CLOSING)
    yield from closing
    dates = [dated for dated in dates if dated.start not in {found.start for found in closing}]
    moments: list[Dated | Stretch] = [*dates, *islice(stretches(_DAYS, flat.folded), MAX_VALUES)]
    moments.sort(key=lambda moment: moment.start)
    yield from _pick(flat, "inspection_deadline", moments, _INSPECTION)
    yield from _pick(flat, "financing_deadline", moments, _FINANCING)


def _pick(flat: FlatText, kind: str, moments: Sequence[Dated | Stretch], cues: tuple[Cue, ...]) -> list[Found]:
    chosen = best(moments, flat.folded, cues)
    if chosen is None:
        return []
    moment, confidence = chosen
    # What is counted from another day stays in the contract's words: which day that is, isn't ours to say.
    value = moment.value.isoformat() if isinstance(moment, Dated) else one_line(flat.text[moment.start : moment.end])
    return [Found(kind=kind, value=value, start=moment.start, end=moment.end, confidence=confidence)]
