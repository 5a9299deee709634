"""Terms that are lawful and common, and that a person should still know of before signing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from handlers.contracts.lexicon import pattern
from jobqueue.tasks import Severity


@dataclass(frozen=True, slots=True)
class Risk:
    """One kind of term: its words in lower-case flat text, and what it means for the reader."""

    code: str
    severity: Severity
    title: str
    words: re.Pattern[str]
    detail: str


def _risk(code: str, severity: Severity, title: str, words: str, detail: str) -> Risk:
    return Risk(code, severity, title, pattern(words), detail)


RISKS: Final = (
    _risk(
        "as_is",
        Severity.MEDIUM,
        "Taken as is",
        r"\bas-is\b|\bas is\b(?=[\"',.;)-]| (?:condition|basis|and|where|state))|\bwhere[- ]is\b|\bwith all faults\b",
        "The property is taken in its present condition; defects found later are hard to claim for.",
    ),
    _risk(
        "waiver_of_contingency",
        Severity.HIGH,
        "A contingency is waived",
        r"\bwaive[sd]? (?:\w+ ){0,4}(?:contingenc(?:y|ies)|inspections?|appraisal)\b|"
        r"\bnot (?:be )?contingent (?:up)?on\b",
        "A party gives up a way out of the contract; make sure that this is meant.",
    ),
    _risk(
        "automatic_renewal",
        Severity.MEDIUM,
        "Renews by itself",
        r"\bautomatic(?:ally)? (?:be )?(?:renew\w*|extend\w*)\b|\b(?:renew|extend)(?:ed|s)? automatically\b",
        "The term goes on unless someone gives notice in time; note the last day for it.",
    ),
    _risk(
        "non_refundable",
        Severity.HIGH,
        "Money that is not refunded",
        r"\bnon-?refundable\b",
        "A payment stays with the other side even if the deal fails.",
    ),
    _risk(
        "liquidated_damages",
        Severity.MEDIUM,
        "Liquidated damages",
        r"\bliquidated damages\b",
        "The price of a default is fixed in advance; check the amount.",
    ),
    _risk(
        "personal_guaranty",
        Severity.MEDIUM,
        "Personal guaranty",
        r"\b(?:personal|unconditional|lease) guarant(?:y|ee)\b",
        "Someone answers for the tenant's debts with their own means.",
    ),
    _risk(
        "jury_waiver",
        Severity.LOW,
        "Jury trial is waived",
        r"\bwaive[sd]?(?: \w+){0,8} (?:jury|trial by jury)\b|\bwaiver of (?:trial by )?jury\b",
        "Disputes go to a judge alone.",
    ),
    _risk(
        "confession_of_judgment",
        Severity.HIGH,
        "Confession of judgment",
        r"\b(?:confess(?:ion of)? judgment|cognovit)\b",
        "A judgment can be entered without a hearing.",
    ),
    _risk(
        "rent_acceleration",
        Severity.MEDIUM,
        "Rent may be accelerated",
        r"\baccelerat\w+(?: \w+){0,8} rent\b|\brent(?: \w+){0,8} (?:accelerated|immediately due)\b",
        "On a default, rent for the rest of the term can fall due at once.",
    ),
)
