"""The rule-based reader of contracts: what a sandbox child calls, plain data in and out.

``document`` is ``DocumentText.model_dump(mode="json")``; the answers are models of `jobqueue.tasks`, dumped alike.
"""

from __future__ import annotations

from typing import Any, Final

from handlers.contracts.classify import classify
from handlers.contracts.clauses import find_clauses
from handlers.contracts.findings import find_findings
from handlers.contracts.law import find_law
from handlers.contracts.pages import FlatText, Found
from handlers.contracts.parties import find_parties
from handlers.contracts.prices import find_prices
from handlers.contracts.property import find_property
from handlers.contracts.summary import summarise_facts
from handlers.contracts.timeline import find_dates
from jobqueue.tasks import Analysis, DocumentClass, DocumentText, Extraction, Fact

_ROLES: Final[dict[DocumentClass, tuple[str, str]]] = {
    "purchase_agreement": ("seller", "buyer"),
    "lease": ("landlord", "tenant"),
    "disclosure": ("seller", "buyer"),
}


def extract(document: dict[str, Any]) -> dict[str, Any]:
    """The facts of a contract, as an `Extraction`.

    Raises:
        LimitExceeded: more text than `handlers.contracts.pages.MAX_CHARACTERS`.

    >>> text = 'This Lease is made May 2, 2024 between Elm LLC ("Landlord") and Ann Lee ("Tenant").'
    >>> page = {"number": 1, "text": text, "source": "text", "confidence": 1.0}
    >>> [(fact["kind"], fact["value"]) for fact in extract({"pages": [page]})["facts"]]
    [('landlord', 'Elm LLC'), ('tenant', 'Ann Lee'), ('agreement_date', '2024-05-02')]
    """
    return read_facts(FlatText(DocumentText.model_validate(document))).model_dump(mode="json")


def read_facts(flat: FlatText) -> Extraction:
    """The facts of a contract's flat text."""
    kind, confidence = classify(flat)
    lease = kind == "lease"
    found: list[Found] = [
        *find_parties(flat, _ROLES.get(kind, ())),
        *find_property(flat),
        *find_prices(flat, lease=lease),
        *find_dates(flat, lease=lease),
        *find_law(flat),
    ]
    facts = [
        Fact(kind=one.kind, value=one.value, quote=flat.quote(one.start, one.end), confidence=round(one.confidence, 2))
        for one in found
    ]
    return Extraction(document_class=kind, class_confidence=confidence, facts=facts)


def summarise(document: dict[str, Any]) -> dict[str, Any]:
    """A summary of the contract, as a `Summary`; raises as `extract`."""
    flat = FlatText(DocumentText.model_validate(document))
    extraction = read_facts(flat)
    clauses = find_clauses(flat, extraction.document_class)
    return summarise_facts(extraction, clauses).model_dump(mode="json")


def analyse(document: dict[str, Any]) -> dict[str, Any]:
    """The contract's clauses and findings, as an `Analysis`; raises as `extract`."""
    flat = FlatText(DocumentText.model_validate(document))
    extraction = read_facts(flat)
    clauses = find_clauses(flat, extraction.document_class)
    return Analysis(clauses=clauses, findings=find_findings(flat, extraction, clauses)).model_dump(mode="json")
