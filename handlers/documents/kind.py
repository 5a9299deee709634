"""What kind of document a file is and which language it is in, by the text of its first pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from handlers.contracts.classify import classify
from handlers.contracts.pages import FlatText
from handlers.documents.languages import language_of
from jobqueue.tasks import DocumentText, PageSource, PageText

FIRST_PAGES: Final = 3
MAX_CHARACTERS: Final = 20_000
"""Of each page."""
_MIN_WORDS: Final = 20
_WORD: Final = re.compile(r"[^\W\d_]{2,}")


def first_pages(texts: Sequence[str]) -> list[str]:
    """As much of a document's text as `kind_of` looks at."""
    return [text[:MAX_CHARACTERS] for text in texts[:FIRST_PAGES]]


def kind_of(texts: Sequence[str]) -> dict[str, Any]:
    r"""The fields of `jobqueue.tasks.DocumentInfo` that tell kind and language; None where the text doesn't tell.

    Classes are told by English words, so there is none for a document in another language.

    >>> kind_of(["RESIDENTIAL LEASE\\nThe Landlord lets the premises to the Tenant for a monthly base rent. " * 3])
    {'document_class': 'lease', 'class_confidence': 0.99, 'language': 'en'}
    >>> kind_of(["", "3"])
    {'document_class': None, 'class_confidence': 0.0, 'language': None}
    """
    pages = first_pages(texts)
    language = language_of(" ".join(pages))
    found: dict[str, Any] = {"document_class": None, "class_confidence": 0.0, "language": language}
    if language not in {None, "en"} or not any(pages):
        return found
    document = DocumentText(
        pages=[
            PageText(number=number, text=text, source=PageSource.TEXT, confidence=1.0)
            for number, text in enumerate(pages, start=1)
        ]
    )
    name, confidence = classify(FlatText(document))
    if name == "other" and sum(len(_WORD.findall(text)) for text in pages) < _MIN_WORDS:
        return found
    return found | {"document_class": name, "class_confidence": confidence}
