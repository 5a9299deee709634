"""What a person should look at: gaps, contradictions and risks, worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Final

from handlers.contracts.clauses import CHECKLISTS, checklist
from handlers.contracts.dates import dates_in
from handlers.contracts.lexicon import pattern
from handlers.contracts.money import amounts_in, written_before
from handlers.contracts.pages import FlatText, one_line
from handlers.contracts.risks import RISKS
from jobqueue.tasks import Clause, Extraction, Fact, Finding, Quote, Severity

_ORDER: Final = (Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO)
_MOST_OF_A_KIND: Final = 5
_HIGH_EARNEST: Final = Decimal("0.10")
_BLANK: Final = pattern(r"_{4,}|\$ ?_{2,}")
_OPEN: Final = pattern(r"\b(?:to be determined|tbd|to be agreed(?: upon)?)\b")
_SIGNING: Final = pattern(
    r"\b(?:by|name|its?|title|dated?|signature|signed|witness|seller|buyer|purchaser|landlord|tenant|lessor|lessee|"
    r"notary|commission expires|initials?|print(?:ed)?|attest|phone|email|fax|ss)\b[^a-z]{0,40}$"
)
_SIGNING_REACH: Final = 60
_BLANKS_LOOKED_AT: Final = 500
_SIGNED: Final = pattern(r"\b(?:in witness whereof|signature|executed (?:this|as of|on)|/s/|by: ?_|date signed)")
_SIGNED_TAIL: Final = 30_000  # characters at the end where signatures stand, exhibits allowed for
_SEQUENCE: Final = (
    ("agreement_date", "closing_date", "closing_before_agreement", "Closing before the agreement"),
    ("inspection_deadline", "closing_date", "inspection_after_closing", "The inspection deadline is after closing"),
    ("financing_deadline", "closing_date", "financing_after_closing", "The financing deadline is after closing"),
    ("commencement_date", "expiration_date", "term_ends_before_it_begins", "The term ends before it begins"),
)


def find_findings(flat: FlatText, extraction: Extraction, clauses: Sequence[Clause]) -> list[Finding]:
    """All findings, worst first; of the same severity, contradictions before risks before gaps."""
    found = [*_contradictions(extraction), *_words_against_figures(flat), *_risks(flat), *_blanks(flat)]
    if extraction.document_class in CHECKLISTS:  # a disclosure or an invoice needs no closing date
        found += [*_missing_clauses(extraction, clauses), *_missing_facts(extraction), *_signatures(flat)]
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def _contradictions(extraction: Extraction) -> Iterator[Finding]:
    for late, early, code, title in _SEQUENCE:
        first, second = extraction.first(late), extraction.first(early)
        if first and second and _later(first, second):
            detail = f"The {_name(late)} ({_said(first)}) is later than the {_name(early)} ({_said(second)})."
            yield _finding(code, Severity.HIGH, title, detail, second.quote)
    price, earnest = extraction.first("purchase_price"), extraction.first("earnest_money")
    if price and earnest:
        yield from _earnest(price, earnest)


def _earnest(price: Fact, earnest: Fact) -> Iterator[Finding]:
    paid, whole = _dollars(earnest), _dollars(price)
    if paid > whole:
        yield _finding(
            "earnest_above_price",
            Severity.HIGH,
            "Earnest money above the price",
            f"The earnest money ({_said(earnest)}) is more than the purchase price ({_said(price)}).",
            earnest.quote,
        )
    elif paid > whole * _HIGH_EARNEST:
        yield _finding(
            "earnest_high",
            Severity.MEDIUM,
            "Unusually high earnest money",
            f"The earnest money ({_said(earnest)}) is more than a tenth of the purchase price ({_said(price)}).",
            earnest.quote,
        )


def _words_against_figures(flat: FlatText) -> Iterator[Finding]:
    def mismatches() -> Iterator[Finding]:
        for amount in amounts_in(flat.folded):
            words = written_before(flat.folded, amount)
            if words and words.value != int(amount.value):
                said = one_line(flat.text[words.start : words.end])
                yield _finding(
                    "amount_mismatch",
                    Severity.HIGH,
                    "An amount differs in words and figures",
                    f"The words say “{said}”, the figures {flat.text[amount.start : amount.end]}; as a rule the words "
                    "prevail.",
                    flat.quote(words.start, amount.end),
                )

    yield from islice(mismatches(), _MOST_OF_A_KIND)


def _missing_clauses(extraction: Extraction, clauses: Sequence[Clause]) -> Iterator[Finding]:
    missing = {clause.name for clause in clauses if not clause.present}
    for rule in checklist(extraction.document_class):
        if rule.name in missing and rule.missing:
            yield _finding(
                f"missing_{rule.name}",
                rule.missing,
                f"No clause: {rule.title}",
                f"No clause on “{rule.title.lower()}” was found; contracts of this kind usually have one.",
            )


def _missing_facts(extraction: Extraction) -> Iterator[Finding]:
    wanted = {
        "purchase_agreement": ("buyer", "seller", "property_address", "purchase_price", "closing_date"),
        "lease": ("landlord", "tenant", "property_address", "rent"),
    }.get(extraction.document_class, ())
    for kind in wanted:
        if extraction.first(kind) is None:
            yield _finding(
                f"not_found_{kind}",
                Severity.MEDIUM,
                f"Not found: {_name(kind)}",
                f"The {_name(kind)} could not be read from the text; look it up in the document.",
            )


def _risks(flat: FlatText) -> Iterator[Finding]:
    for risk in RISKS:
        match = risk.words.search(flat.folded)
        if match:
            yield _finding(risk.code, risk.severity, risk.title, risk.detail, flat.quote(*flat.sentence(*match.span())))


def _blanks(flat: FlatText) -> Iterator[Finding]:
    open_blanks = (
        match
        for match in islice(_BLANK.finditer(flat.folded), _BLANKS_LOOKED_AT)
        if not _SIGNING.search(flat.folded, max(0, match.start() - _SIGNING_REACH), match.start())
    )
    for match in islice(open_blanks, _MOST_OF_A_KIND):
        yield _finding(
            "blank",
            Severity.MEDIUM,
            "A blank is left open",
            "Something was to be filled in here; make sure that it is settled before anyone signs.",
            flat.quote(*flat.sentence(*match.span())),
        )
    still_open = _OPEN.search(flat.folded)
    if still_open:
        yield _finding(
            "left_open",
            Severity.MEDIUM,
            "A term is left open",
            "This is still to be agreed.",
            flat.quote(*flat.sentence(*still_open.span())),
        )


def _signatures(flat: FlatText) -> Iterator[Finding]:
    tail = max(0, len(flat.folded) - _SIGNED_TAIL)
    if not _SIGNED.search(flat.folded, tail):
        yield _finding(
            "no_signatures",
            Severity.MEDIUM,
            "No signature block",
            "No place for signatures was found at the end; the document may be a part or a draft.",
        )
    elif not dates_in(flat.folded, tail):
        yield _finding(
            "no_signature_date",
            Severity.LOW,
            "No date of signing",
            "The signature part holds no date, so it isn't clear when the agreement was signed.",
        )


def _finding(code: str, severity: Severity, title: str, detail: str, quote: Quote | None = None) -> Finding:
    return Finding(code=code, severity=severity, title=title, detail=detail, quote=quote)


def _name(kind: str) -> str:
    """``closing_date`` as ``closing date``."""
    return kind.replace("_", " ")


def _said(fact: Fact) -> str:
    """The fact in the document's own words."""
    return one_line(fact.quote.text)


def _day(fact: Fact) -> date | None:
    """None for a deadline that is counted from another day."""
    try:
        return date.fromisoformat(fact.value)
    except ValueError:
        return None


def _dollars(fact: Fact) -> Decimal:
    return Decimal(fact.value.split()[0])


def _later(one: Fact | None, other: Fact | None) -> bool:
    """Whether both are there, both are days, and the first is the later one."""
    first, second = one and _day(one), other and _day(other)
    return bool(first and second and first > second)
