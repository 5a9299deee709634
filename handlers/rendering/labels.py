"""English names for the identifiers that a report is made of."""

from __future__ import annotations

from typing import Final

from jobqueue.tasks import DocumentClass, PageSource, Severity

CLASSES: Final[dict[DocumentClass, str]] = {
    "purchase_agreement": "Purchase agreement",
    "lease": "Lease",
    "addendum": "Addendum",
    "disclosure": "Disclosure",
    "listing": "Listing agreement",
    "title": "Title document",
    "inspection": "Inspection report",
    "hoa": "Homeowners association document",
    "loan": "Loan document",
    "invoice": "Invoice",
    "id": "Identity document",
    "other": "Other document",
}

SOURCES: Final[dict[PageSource, str]] = {
    PageSource.TEXT: "Text layer of the file",
    PageSource.OCR: "Optical character recognition",
    PageSource.BOTH: "Text layer, and recognition of pictures",
    PageSource.EMPTY: "No text found",
    PageSource.UNREADABLE: "Not readable",
}

SEVERITIES: Final[dict[Severity, str]] = {
    Severity.HIGH: "High severity",
    Severity.MEDIUM: "Medium severity",
    Severity.LOW: "Low severity",
    Severity.INFO: "For information",
}

PRESENT: Final = "Present"
MISSING: Final = "Missing"

PARTIES: Final = frozenset(
    {"buyer", "seller", "landlord", "tenant", "party", "lender", "borrower", "guarantor", "agent", "broker"},
)


def kind(name: str) -> str:
    """The label of a fact's kind, also of kinds that this version has never heard of.

    >>> kind("purchase_price"), kind("HOA_fee"), kind("")
    ('Purchase price', 'HOA fee', 'Unnamed')
    """
    text = name.replace("_", " ").strip() or "unnamed"
    return text[:1].upper() + text[1:]
