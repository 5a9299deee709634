"""Dates as contracts write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from handlers.contracts.lexicon import pattern

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        [
            "january",
            "february",
            "march",
            "april",
            "may",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
        ],
        start=1,
    )
}
_SHORT_MONTHS: Final = {name[:3]: number for name, number in _MONTHS.items()}
_MONTH: Final = r"(?P<month>(?:" + "|".join(_MONTHS) + r")|(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?)"
_DAY: Final = r"(?P<day>\d{1,2}) ?(?:s ?t|n ?d|r ?d|t ?h)?"  # conversions tear "1s t" apart
_YEAR: Final = r"(?P<year>(?:19|20)\d\d)(?!\d)"

_FORMS: Final = (
    pattern(rf"\b{_MONTH} {_DAY} ?[,.]? ?{_YEAR}"),
    pattern(rf"\b{_DAY} (?:day )?(?:of )?{_MONTH} ?[,.]? {_YEAR}"),
    pattern(r"(?<![\d/.-])(?P<month>\d{1,2})[/-](?P<day>\d{1,2})[/-](?P<year>(?:19|20)?\d\d)(?![\d/-])"),
    pattern(r"(?<![\d/.-])(?P<year>(?:19|20)\d\d)-(?P<month>\d\d)-(?P<day>\d\d)(?!\d)"),
)
_CENTURY_TURN: Final = 70  # two-digit years from here on are of the last century


@dataclass(frozen=True, slots=True)
class Dated:
    """A date and the span of the flat text it was read from."""

    value: date
    start: int
    end: int


def dates_in(folded: str, start: int = 0, end: int | None = None) -> list[Dated]:
    """The dates of a span of lower-case text, in order; impossible ones (February 30) are left out.

    A day past the month's end by one ("the 31st day of September") is read as the month's last day, since contracts
    make that slip.

    >>> [str(found.value) for found in dates_in("made this 2nd day of may, 2014, to end on 5/31/17")]
    ['2014-05-02', '2017-05-31']
    """
    stop = len(folded) if end is None else min(end, len(folded))
    found = [
        Dated(value, match.start(), match.end())
        for form in _FORMS
        for match in form.finditer(folded, start, stop)
        if (value := _value(match)) is not None
    ]
    return sorted(found, key=lambda dated: dated.start)


def _value(match: re.Match[str]) -> date | None:
    month_text, day, year = match["month"], int(match["day"]), int(match["year"])
    month = int(month_text) if month_text.isdigit() else _MONTHS.get(month_text) or _SHORT_MONTHS[month_text[:3]]
    if year < 100:  # noqa: PLR2004  # two digits
        year += 1900 if year >= _CENTURY_TURN else 2000
    for candidate in (day, day - 1):
        try:
            return date(year, month, candidate)
        except ValueError:
            if day != 31:  # noqa: PLR2004  # only the slip of the thirty-first is mended
                return None
    return None
