"""A summary in plain English, made of what was found and nothing else.

Values stand in the contract's own words, so every number, date and name of the summary stands in the document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from handlers.contracts.pages import one_line
from jobqueue.tasks import Clause, DocumentClass, Extraction, Fact, KeyPoint, Summary

MAX_CHARACTERS: Final = 2_500
_MAX_VALUE: Final = 160

_CALLED: Final[dict[DocumentClass, str]] = {
    "purchase_agreement": "a purchase agreement for real property", "lease": "a lease", "addendum": "an addendum",
    "disclosure": "a disclosure", "listing": "a listing agreement", "title": "a title document",
    "inspection": "an inspection report", "hoa": "a homeowners' association document", "loan": "a loan document",
    "invoice": "an invoice", "id": "an identity document", "other": "a document of no kind that is known here",
}  # fmt: skip
_SENTENCES: Final = (
    ("agreement_date", "It is dated {}."),
    ("property_address", "The property is {}."),
    ("purchase_price", "The purchase price is {}."),
    ("earnest_money", "The earnest money is {}."),
    ("inspection_deadline", "The inspection deadline is {}."),
    ("financing_deadline", "The financing deadline is {}."),
    ("closing_date", "The closing date is {}."),
    ("term", "The term is {}."),
    ("commencement_date", "It begins on {}."),
    ("expiration_date", "It ends on {}."),
    ("deposit", "The security deposit is {}."),
    ("governing_law", "The law of {} governs."),
)
_ROLES: Final = (
    ("seller", "The seller is {}.", "The sellers are {}."),
    ("buyer", "The buyer is {}.", "The buyers are {}."),
    ("landlord", "The landlord is {}.", "The landlords are {}."),
    ("tenant", "The tenant is {}.", "The tenants are {}."),
)
_RENTS: Final = {"month": "The monthly rent is {}.", "year": "The annual rent is {}."}


def summarise_facts(extraction: Extraction, clauses: Sequence[Clause]) -> Summary:
    """The summary of a contract whose facts and clauses were found; at most `MAX_CHARACTERS` long."""
    points = list(_points(extraction))
    sentences = [f"This reads as {_CALLED[extraction.document_class]}.", *(point.text for point in points)]
    present = [clause for clause in clauses if clause.present]
    absent = [clause.title.lower() for clause in clauses if not clause.present]
    if present:
        sentences.append(f"It has provisions on {_listed([clause.title.lower() for clause in present])}.")
    if absent:
        sentences.append(f"Nothing was found on {_listed(absent)}.")
    points += [
        KeyPoint(text=f"It has a provision on {clause.title.lower()}.", quote=clause.quote) for clause in present
    ]
    return Summary(text=_fit(sentences), key_points=points)


def _points(extraction: Extraction) -> Iterator[KeyPoint]:
    for kind, one, several in _ROLES:
        facts = [fact for fact in extraction.facts if fact.kind == kind]
        if facts:
            names = [_said(fact) for fact in facts]
            yield KeyPoint(text=(several if len(names) > 1 else one).format(_listed(names)), quote=facts[0].quote)
    for kind, sentence in _SENTENCES:
        fact = extraction.first(kind)
        if fact:
            yield KeyPoint(text=sentence.format(_said(fact)), quote=fact.quote)
    for fact in extraction.facts:
        if fact.kind == "rent":
            yield KeyPoint(text=_RENTS[fact.value.rsplit(" ", 1)[1]].format(_said(fact)), quote=fact.quote)


def _said(fact: Fact) -> str:
    """The value in the document's own words, for a sentence's end."""
    said = one_line(fact.quote.text).rstrip(".,;")
    return said if len(said) <= _MAX_VALUE else said[:_MAX_VALUE].rsplit(" ", 1)[0] + " …"


def _listed(names: Sequence[str]) -> str:
    """English enumeration.

    >>> _listed(["rent", "term", "use"])
    'rent, term and use'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _fit(sentences: Sequence[str]) -> str:
    """As many whole sentences, in order, as the limit allows."""
    text = ""
    for sentence in sentences:
        if len(text) + len(sentence) + 1 > MAX_CHARACTERS:
            break
        text = f"{text} {sentence}".lstrip()
    return text
