"""Strings of unknown origin made fit for a page: no control characters, one line, bounded in length."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime
from typing import Final

ELLIPSIS: Final = "…"

# Cc and Cs are illegal in XML or unprintable; Cf holds the overrides that make "gpj.exe" read "exe.jpg".
_DROPPED: Final = {"Cc", "Cf", "Cs"}
_JOINERS: Final = "\u200c\u200d"  # of category Cf, but Persian and Indic spelling needs them
_NONCHARACTERS: Final = "\ufffe\uffff"  # the two that XML 1.0 forbids
# One letter needs a few marks at most; hundreds of them tower over the page.
_MARKS: Final = r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]"
_MARK_TOWERS: Final = re.compile(f"({_MARKS}{{4}}){_MARKS}+")
_SPACES: Final = re.compile(r"\s+")
_AMOUNT: Final = re.compile(r"(?P<whole>\d{4,15})(?P<cents>\.\d{1,4})? (?P<currency>[A-Z]{3})")


def clean(value: str, limit: int) -> str:
    r"""``value`` on one line, of printable characters only, at most ``limit`` characters long.

    >>> clean("Jose\u0301\x00 \n\t Garcia", 40), clean("x" * 50, 5)
    ('José Garcia', 'xxxx…')
    """
    # Cut before the work, so that a text of many megabytes costs no more than a short one.
    kept = (c for c in value[: 4 * limit] if c.isspace() or c in _JOINERS or unicodedata.category(c) not in _DROPPED)
    text = "".join(kept).translate(dict.fromkeys(map(ord, _NONCHARACTERS)))
    text = _SPACES.sub(" ", text)
    text = unicodedata.normalize("NFC", _MARK_TOWERS.sub(r"\1", text)).strip()
    if len(text) <= limit and len(value) <= 4 * limit:
        return text
    return text[: limit - 1].rstrip() + ELLIPSIS


def paragraphs(value: str, limit: int) -> tuple[str, ...]:
    r"""The lines of ``value`` that say something, each cleaned, together at most about ``limit`` characters.

    >>> paragraphs("One.\n\n Two. ", 100)
    ('One.', 'Two.')
    """
    lines = (clean(line, limit) for line in value[:limit].splitlines())
    return tuple(line for line in lines if line)


def readable_value(value: str) -> str:
    """A fact's normalised value as people write it: thousands in groups, everything else as it is.

    >>> readable_value("425000.00 USD"), readable_value("30 days")
    ('425,000.00 USD', '30 days')
    """
    amount = _AMOUNT.fullmatch(value)
    if amount is None:
        return value
    return f"{int(amount['whole']):,}{amount['cents'] or ''} {amount['currency']}"


def parse_date(value: str) -> date | None:
    """The day that an ISO 8601 value names, or None.

    >>> parse_date("2024-03-01"), parse_date("2024-03-01T17:00"), parse_date("30 days after signing")
    (datetime.date(2024, 3, 1), datetime.date(2024, 3, 1), None)
    """
    try:
        return datetime.fromisoformat(value).date()
    except ValueError:
        return None


def readable_date(day: date) -> str:
    """A date in words, the same in every locale.

    >>> readable_date(date(2024, 3, 1))
    'Friday, March 1, 2024'
    """
    return f"{_WEEKDAYS[day.weekday()]}, {_MONTHS[day.month - 1]} {day.day}, {day.year}"


def percent(share: float) -> str:
    """A confidence of 0..1 in whole percent.

    >>> percent(0.876)
    '88%'
    """
    return f"{round(100 * min(max(share, 0.0), 1.0))}%"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun.

    >>> count(1, "page"), count(3, "page"), count(1200, "party", "parties")
    ('1 page', '3 pages', '1,200 parties')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# strftime's names follow the process's locale, and the same report must give the same bytes everywhere.
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
