"""The clauses that a contract of each class usually has, and where this one has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from handlers.contracts.lexicon import pattern
from handlers.contracts.pages import FlatText
from jobqueue.tasks import Clause, DocumentClass, Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """One clause category.

    Attributes:
        name: stable identifier.
        title: English name.
        words: what shows that the clause is there; searched in lower-case flat text.
        missing: how much its absence matters; None where many sound contracts go without.
    """

    name: str
    title: str
    words: re.Pattern[str]
    missing: Severity | None = None


def _rule(name: str, title: str, words: str, missing: Severity | None = None) -> Rule:
    return Rule(name, title, pattern(rf"\b(?:{words})"), missing)


_HIGH, _MEDIUM, _LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW

_COMMON: Final = (
    _rule(
        "default_remedies",
        "Default and remedies",
        r"events? of default|defaults? by|in default|remedies|breach of this",
        _HIGH,
    ),
    _rule("assignment", "Assignment", r"assignment|(?:may|shall) not assign|assign this|sublet", _LOW),
    _rule(
        "governing_law",
        "Governing law",
        r"governing law|(?:governed|construed|interpreted)(?: \w+){0,8} laws?|"
        r"laws of the state of (?:\w+ ){1,2}shall govern",
        _LOW,
    ),
    _rule(
        "notices", "Notices", r"notices?:? (?:shall|must|will|to be|required|under|given)|all notices|any notice", _LOW
    ),
    _rule(
        "entire_agreement",
        "Entire agreement",
        r"entire (?:agreement|understanding|contract)|merged (?:into|in|herein)|supersedes? all",
        _LOW,
    ),
    _rule("attorneys_fees", "Attorneys' fees", r"attorneys?'?s?'? fees"),
    _rule(
        "dispute_resolution",
        "Dispute resolution",
        r"mediation|arbitrat(?:ion|e|or)|waiver? of jury|trial by jury|venue",
    ),
)
_PURCHASE: Final = (
    _rule("purchase_price", "Purchase price", r"purchase price|sales? price|contract price|price of", _HIGH),
    _rule(
        "earnest_money",
        "Earnest money",
        r"earnest money|good faith deposit|initial deposit|the deposit|escrow deposit",
        _MEDIUM,
    ),
    _rule(
        "financing_contingency",
        "Financing contingency",
        r"financing contingency|contingent upon(?: \w+){0,8} (?:financing|loan|mortgage)|(?:loan|"
        r"mortgage) (?:contingency|commitment|approval)|obtain(?:ing)?(?: \w+){0,4} (?:financing|mortgage|loan)",
        _MEDIUM,
    ),
    _rule(
        "inspection_contingency",
        "Inspection",
        r"inspection (?:period|contingency|deadline)|due diligence|feasibility|right to inspect|(?:property|home|"
        r"physical) inspections?|option period",
        _HIGH,
    ),
    _rule("appraisal_contingency", "Appraisal", r"apprais(?:al|ed)"),
    _rule(
        "title",
        "Title",
        r"title (?:insurance|commitment|policy|company|report|search)|marketable title|good title|warranty deed",
        _HIGH,
    ),
    _rule(
        "closing",
        "Closing",
        r"closing date|date of closing|close of escrow|settlement date|closing shall|the closing",
        _HIGH,
    ),
    _rule(
        "closing_costs",
        "Closing costs and prorations",
        r"closing costs|prorat(?:ed|ions?)|transfer tax(?:es)?|recording fees",
    ),
    _rule("possession", "Possession", r"possession", _MEDIUM),
    _rule(
        "condition",
        "Condition of the property",
        r"as-is\b|as is\b(?=[\"',.;)-]| (?:condition|basis|and|where))|condition of the property|present condition|"
        r"where[- ]is|repairs?",
        _LOW,
    ),
    _rule("risk_of_loss", "Risk of loss", r"risk of loss|casualty|condemnation|fire or other|destroyed", _MEDIUM),
    _rule(
        "disclosures",
        "Seller's disclosures",
        r"disclosure (?:statement|form)|seller'?s? disclos|property disclosure|disclosures",
        _LOW,
    ),
    _rule("warranties", "Representations and warranties", r"represents? and warrants?|representations and warranties"),
    _rule(
        "hoa",
        "Homeowners' association",
        r"homeowners?'? ?s?'? association|\bhoa\b|condominium association|owners'? association",
    ),
    _rule("lead_paint", "Lead-based paint", r"lead[- ]based paint"),
    _rule("fixtures", "Fixtures and personal property", r"fixtures|personal property"),
    _rule("broker", "Brokers", r"brokers?(?:age)?\b|commission"),
    _rule("time_of_essence", "Time of the essence", r"time (?:is|shall be|being) of the essence", _LOW),
)
_LEASE: Final = (
    _rule(
        "rent",
        "Rent",
        r"(?:base|minimum|monthly|annual|fixed) rent|rent (?:shall|is|will)|pay(?:s|ing)?(?: \w+){0,3} rent",
        _HIGH,
    ),
    _rule(
        "term",
        "Term",
        r"term of (?:this|the) (?:lease|sublease|agreement)|lease term|the term shall|initial term|for a term",
        _HIGH,
    ),
    _rule(
        "renewal", "Renewal and extension", r"renew(?:al)?|option to extend|extension (?:term|option)|extend the term"
    ),
    _rule(
        "security_deposit",
        "Security deposit",
        r"security deposit|deposit(?:ed)?(?: \w+){0,8} security|as security for",
        _LOW,
    ),
    _rule(
        "permitted_use",
        "Permitted use",
        r"permitted use|use of (?:the )?(?:demised |leased )?premises|shall (?:be used|use)|authorized use|"
        r"to be used for",
        _MEDIUM,
    ),
    _rule("maintenance", "Maintenance and repairs", r"maintenance|repairs?", _MEDIUM),
    _rule("alterations", "Alterations", r"alterations?|improvements"),
    _rule(
        "subletting",
        "Assignment and subletting",
        r"sublet|subleas(?:e|ing) (?:the|all|any)|assign(?:ment)? (?:or|and|of) ",
        _MEDIUM,
    ),
    _rule("insurance", "Insurance", r"insurance", _MEDIUM),
    _rule("indemnity", "Indemnity", r"indemnif(?:y|ies|ication)|indemnity|hold harmless", _LOW),
    _rule("termination", "Termination", r"terminat(?:e|ion)", _MEDIUM),
    _rule("utilities", "Utilities", r"utilit(?:y|ies)|electricity"),
    _rule(
        "taxes",
        "Taxes and operating expenses",
        r"real estate tax(?:es)?|property tax(?:es)?|operating (?:expenses|costs)|common area",
    ),
    _rule("casualty", "Casualty and condemnation", r"fire or other|casualty|condemnation|eminent domain", _LOW),
    _rule(
        "entry",
        "Landlord's entry",
        r"(?:landlord|lessor)(?: \w+){0,8} (?:enter|entry|access)|right (?:of|to) (?:entry|enter)",
    ),
    _rule("subordination", "Subordination", r"subordinat(?:e|ion)|attorn(?:ment)?"),
    _rule("quiet_enjoyment", "Quiet enjoyment", r"quiet (?:enjoyment|possession)|peaceabl[ey]", _LOW),
    _rule("surrender", "Surrender and holding over", r"hold(?:ing)?[- ]?over|surrender"),
)

CHECKLISTS: Final[dict[DocumentClass, tuple[Rule, ...]]] = {
    "purchase_agreement": _PURCHASE + _COMMON,
    "lease": _LEASE + tuple(rule for rule in _COMMON if rule.name != "assignment"),
}


def checklist(document_class: DocumentClass) -> Sequence[Rule]:
    """The rules for a class; those that fit any agreement where the class has no list of its own."""
    return CHECKLISTS.get(document_class, _COMMON)


_CONTENTS: Final = re.compile(r"\.{4}|\s\d{1,3}\s*$")
_TRIES: Final = 12


def find_clauses(flat: FlatText, document_class: DocumentClass) -> list[Clause]:
    """Every clause of the class's checklist, present with its sentence or missing."""
    return [
        Clause(name=rule.name, title=rule.title, present=span is not None,
               quote=flat.quote(*flat.sentence(*span)) if span else None)
        for rule in checklist(document_class)
        for span in [_first(flat, rule.words)]
    ]  # fmt: skip


def _first(flat: FlatText, words: re.Pattern[str]) -> tuple[int, int] | None:
    """The first place in running text; a table of contents or a bare heading only where there is nothing else."""
    fallback = None
    for count, match in enumerate(words.finditer(flat.folded)):
        begin, end = flat.sentence(match.start(), match.end())
        sentence = flat.text[begin:end]
        if len(sentence) > 60 and not _CONTENTS.search(sentence):  # noqa: PLR2004  # shorter than any clause
            return match.span()
        fallback = fallback or match.span()
        if count >= _TRIES:
            break
    return fallback
