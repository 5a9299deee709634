"""What kind of document this is."""

from __future__ import annotations

import math
from typing import Final

from handlers.contracts.lexicon import pattern
from handlers.contracts.pages import FlatText
from jobqueue.tasks import DocumentClass

_TITLE_REACH: Final = 1_500
_TITLE_WEIGHT: Final = 6.0
_CEILING: Final = 4.0  # no one word decides, however often it stands there

# Per class: what its title says, and what its body keeps saying.
_SIGNS: Final[dict[DocumentClass, tuple[str, str]]] = {
    "purchase_agreement": (
        (
            r"purchase and sale|agreement of (?:purchase and )?sale|purchase agreement|(?:sale|purchase) (?:contract|"
            r"agreement)|contract (?:of|for) (?:purchase|sale)|contract to (?:buy|purchase)|offer to purchase|"
            r"sales contract|agreement to (?:buy|sell|purchase)|escrow instructions"
        ),
        r"\b(?:purchase price|earnest money|purchaser|buyer|seller|closing date|title company)\b",
    ),
    "lease": (
        r"\b(?:sub ?)?leases?\b(?! purchase)|rental agreement|tenancy agreement",
        r"\b(?:landlord|tenant|lessor|lessee|premises|base rent|security deposit)\b",
    ),
    "addendum": (r"\baddendum\b|\bamendment (?:to|no)|rider to", r"\b(?:addendum|amendment|hereby amended)\b"),
    "disclosure": (
        (
            r"disclosure (?:statement|form|report)|lead[- ]based paint|property condition disclosure|"
            r"seller's? disclosure"
        ),
        r"\b(?:aware of|known defects|disclos(?:e|ure|ures)|unknown)\b",
    ),
    "listing": (
        r"listing (?:agreement|contract)|exclusive right to sell|exclusive agency|buyer representation",
        r"\b(?:listing (?:broker|price|period)|broker's compensation|multiple listing)\b",
    ),
    "title": (
        r"title (?:commitment|insurance|report|policy)|warranty deed|quitclaim deed|deed of trust",
        r"\b(?:schedule b|proposed insured|grantor|grantee|exceptions? from coverage)\b",
    ),
    "inspection": (
        r"inspection report|home inspection|appraisal report|survey report",
        r"\b(?:inspector|deficien(?:t|cy)|serviceable|crawlspace|recommend(?:ed)? repair)\b",
    ),
    "hoa": (
        r"homeowners'? association|covenants,? conditions,? and restrictions|bylaws|resale certificate",
        r"\b(?:association|assessments?|board of directors|common elements?)\b",
    ),
    "loan": (
        r"promissory note|loan agreement|mortgage\b|loan estimate|closing disclosure|security instrument",
        r"\b(?:borrower|lender|principal amount|interest rate|maturity date)\b",
    ),
    "invoice": (
        r"\binvoice (?:no|number|date|#|to)|statement of account",
        r"\b(?:invoice|amount due|subtotal|bill to|qty)\b",
    ),
    "id": (r"driver'?s? licen[sc]e|passport|identification card", r"\b(?:date of birth|dob|expires|nationality)\b"),
}
_COMPILED: Final = {name: (pattern(title), pattern(body)) for name, (title, body) in _SIGNS.items()}
_LEAST: Final = 2.5  # below this the document is of no kind we know


def classify(flat: FlatText) -> tuple[DocumentClass, float]:
    """The document's class and how sure that is, 0..1.

    A title near the top counts most, its first word more than later ones; the body's vocabulary decides between
    titles, and on its own where there is no title.
    """
    scores = {name: _score(flat, name) for name in _COMPILED}
    ranked = sorted(scores, key=lambda name: -scores[name])
    top, second = scores[ranked[0]], scores[ranked[1]]
    if top < _LEAST:
        return "other", round(1 - top / (2 * _LEAST), 2)
    return ranked[0], round(1 / (1 + math.exp(-(top - second) / 2)), 2)


def _score(flat: FlatText, name: DocumentClass) -> float:
    title, body = _COMPILED[name]
    hits = sum(1 for _ in body.finditer(flat.folded))
    density = min(_CEILING, hits * 5_000 / max(len(flat.folded), 2_000))
    found = title.search(flat.folded, 0, _TITLE_REACH)
    if not found:
        return density
    # A title's words are a title only where the body speaks the same language.
    return density + _TITLE_WEIGHT * (1 - 0.5 * found.start() / _TITLE_REACH) * min(1.0, 0.3 + density)
