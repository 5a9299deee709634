"""What is paid: price, earnest money, rent, deposit."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from handlers.contracts.cues import Cue, best, cue
from handlers.contracts.lexicon import pattern
from handlers.contracts.money import Amount, amounts_in
from handlers.contracts.pages import FlatText, Found

_PRICE: Final = (
    cue(r"\bpurchase price\b", 0.95, 200),
    cue(r"\b(?:sales?|contract|total|selling) price\b", 0.85, 160),
    cue(r"\bat (?:the|a) price of\b", 0.9, 140),
    cue(r"\bprice\b", 0.6, 100),
    cue(r"^.{0,10}\(?(?:the|herein)?.{0,12}purchase price", 0.95, 60, after=True),
    cue(r"\b(?:earnest|deposit|down payment|option fee|balance|adjust|allocat|increase|reduc|credit)", -0.35, 60),
    cue(r"^[^.]{0,40}\b(?:earnest|deposit|per (?:acre|square foot|unit|lot))", -0.3, 60, after=True),
)
_EARNEST: Final = (
    cue(r"\bearnest money\b", 0.95, 200),
    cue(r"\b(?:initial |good faith |escrow )?deposit\b", 0.8, 160),
    cue(r"^[^.]{0,12}\(?(?:the|herein|as)?[^.]{0,30}(?:earnest money|deposit)", 0.95, 70, after=True),
    cue(r"\b(?:purchase price|additional|increas|independent (?:contract )?consideration|title)", -0.2, 60),
)
_DEPOSIT: Final = (
    cue(r"\bsecurity deposit\b", 0.95, 150),
    cue(r"\bsecurity\b", 0.6, 100),
    cue(r"\b(?:has |have |shall )?deposit(?:ed|s)? with (?:the )?(?:landlord|lessor)\b", 0.85, 160),
    cue(r"\bdeposit (?:the|of|in the)\b", 0.7, 70),
    cue(r"^.{0,70}\bsecurity deposit\b", 0.9, 90, after=True),
    cue(r"^.{0,12}\bas (?:a )?security\b", 0.9, 40, after=True),
    cue(r"\bsecurity deposit\b[^.]{0,120}\bnew total of\b", 0.99, 160, across=True),
    cue(r"\b(?:reduc|apply|appl(?:ied|ies)|increased by|insurance|bond|less than|letter of credit)", -0.4, 60),
)
_RENT_WORDS: Final = (
    r"(?:base|minimum|minium|fixed|basic|annual|monthly|initial|gross|net|guaranteed)(?: \w+)? rent(?:al)?\b"
)
_MONTH: Final = (
    cue(rf"\b{_RENT_WORDS}", 0.75, 260),
    cue(r"\brent\b", 0.6, 120),
    cue(
        r"\bmonthly (?:base |minimum |gross |fixed )?(?:rent|rental|installments?)\b|\brent (?:per|each) month",
        0.85,
        260,
    ),
    cue(
        r"^[^$]{0,14}\b(?:per|a|each|every) (?:calendar )?month\b|^.{0,4}(?:/ ?mo|monthly)",
        0.25,
        40,
        after=True,
        bonus=True,
    ),
)
_YEAR: Final = (
    cue(rf"\b{_RENT_WORDS}", 0.75, 200),
    cue(r"\b(?:annual|yearly) (?:base |minimum |fixed )?rent(?:al)?\b|\bminimum annual rent\b", 0.85, 200),
    cue(r"\brent\b", 0.55, 120),
    cue(r"^[^$]{0,14}\b(?:per|a|each) (?:lease )?(?:year|annum)\b|^.{0,4}annually", 0.25, 40, after=True, bonus=True),
)
_NOT_RENT: Final = (
    cue(
        r"\b(?:deposit|insurance|late (?:charge|fee)|additional rent|parking|allowance|exceed|less than|never|penalt|"
        r"taxes|commission|percentage rent|(?:in|de)creased by|liability|damage|storage)",
        -0.5,
        90,
    ),
    cue(
        r"^[^.]{0,30}(?:per (?:square|rentable|occurrence)|/ ?(?:sf|rsf)|security deposit|limit|late)",
        -0.5,
        50,
        after=True,
    ),
)
_PER_MONTH: Final = pattern(r"^[^$.;]{0,30}?\b(?:(?:per|a|each|every) (?:calendar )?month|monthly|/ ?mo)")
_PER_YEAR: Final = pattern(r"^[^$.;]{0,30}?\b(?:(?:per|a|each) (?:lease )?(?:year|annum)|annually|yearly)")
_WITH_MONTHLY: Final = pattern(r"^ ?\(\$ ?[\d,.]{3,14} ?(?:per month|monthly|/ ?mo)")
_MONTH_BEFORE: Final = pattern(r"\b(?:monthly|month)\b")
_YEAR_BEFORE: Final = pattern(r"\b(?:annual(?:ly)?|year(?:ly)?)\b")
_LEAST_RENT: Final = Decimal(100)  # below this it is a rate per square foot, a fee, an interest
_LEAST_PRICE: Final = Decimal(1_000)


def find_prices(flat: FlatText, *, lease: bool) -> Iterator[Found]:
    """The amounts of a contract of its kind: the likeliest of each."""
    amounts = amounts_in(flat.folded)
    if lease:
        large = [amount for amount in amounts if amount.value >= _LEAST_RENT]
        yield from _rents(flat, large)
        yield from _pick(flat, "deposit", large, _DEPOSIT)
        return
    price = list(_pick(flat, "purchase_price", [a for a in amounts if a.value >= _LEAST_PRICE], _PRICE))
    yield from price
    taken = {found.start for found in price}
    yield from _pick(flat, "earnest_money", [a for a in amounts if a.value >= 1 and a.start not in taken], _EARNEST)


def _pick(flat: FlatText, kind: str, amounts: list[Amount], cues: tuple[Cue, ...]) -> Iterator[Found]:
    chosen = best(amounts, flat.folded, cues)
    if chosen and chosen[1] >= 0.45:  # noqa: PLR2004  # weaker than any one cue near its end of reach
        amount, confidence = chosen
        yield Found(
            kind=kind, value=amount.normal, start=amount.start, end=amount.end, confidence=min(confidence, 0.99)
        )


def _rents(flat: FlatText, amounts: list[Amount]) -> Iterator[Found]:
    """The first rent per month and the first per year; ``value`` carries the period."""
    for period, cues in (("month", _MONTH), ("year", _YEAR)):
        fitting = [amount for amount in amounts if _period(flat.folded, amount) == period]
        for found in _pick(flat, "rent", fitting, cues + _NOT_RENT):
            yield Found(
                kind="rent",
                value=f"{found.value} per {period}",
                start=found.start,
                end=found.end,
                confidence=found.confidence,
            )


def _period(folded: str, amount: Amount) -> str | None:
    """``month`` or ``year``, by what follows the amount, else by the last such word before it."""
    after = folded[amount.end : amount.end + 60]
    month, year = _PER_MONTH.search(after), _PER_YEAR.search(after)
    if month or year:
        return "year" if year and (not month or year.end() < month.end()) else "month"
    if _WITH_MONTHLY.match(after):  # "$225,000.00 ($18,750.00 monthly)"
        return "year"
    before = folded[max(0, amount.start - 200) : amount.start]
    last_month = max((m.end() for m in _MONTH_BEFORE.finditer(before)), default=-1)
    last_year = max((m.end() for m in _YEAR_BEFORE.finditer(before)), default=-1)
    if last_month == last_year:
        return None
    return "month" if last_month > last_year else "year"
