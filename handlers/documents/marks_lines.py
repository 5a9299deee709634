"""What a line on a page is for: to sign, to initial, or to fill in; by the words under it and before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from handlers.documents.marks_labels import Around, sides
from handlers.documents.ocr_engines import Box
from jobqueue.tasks import PageMark, PageWord

Kind = Literal["signature", "initials", "field"]
_INITIALS: Final = re.compile(r"nitial(?:s|ed)?\b", re.IGNORECASE)  # recognition takes its I for all kinds of letters
_SIGNED: Final = re.compile(r"\b(?:signatures?|signed|sign here|signatory)\b|^by$|^x$", re.IGNORECASE)
_FIELD: Final = re.compile(r"\b(?:dated?|names?|title|address|phone|e-?mail|time|license|printed)\b", re.IGNORECASE)
_PARTY: Final = re.compile(
    r"\b(?:buyers?|sellers?|purchasers?|landlords?|tenants?|lessors?|lessees?|owners?|borrowers?|brokers?|agents?|"
    r"licensees?|guarantors?|witness(?:es)?|notary|trustees?|grantors?|grantees?)\b",
    re.IGNORECASE,
)
_SIGNING: Final = re.compile(
    r"\bsignatures?\b|\bsign(?:ed)?\b|\bwitness whereof\b|\bexecuted\b|\bby:|\bdate:?\s*_", re.IGNORECASE
)
_ACROSS_POINTS: Final = 24.0  # between two lines for the same words: "Initials ____ ____"
_STANDS_ALL_OVER: Final = 0.85  # of a line: that underlines the words
_CROSS: Final = frozenset(("x", "X", "✗", "×"))  # "sign here", in front of a line
_MAX_LABEL_WORDS: Final = 8  # more are a sentence that runs on below

Written = Callable[[Box, list[Box]], bool | None]
"""Whether something is written on a line, besides what stands in the boxes."""


def kind_of(label: str, *, under: bool, signing: bool) -> Kind | None:
    """What a line with these words is for; None: for nothing that is known.

    Args:
        label: the words.
        under: they stand under the line, as a signature's do; else before it.
        signing: there is talk of signing on the page; elsewhere "Buyer: ____" asks for a name.

    >>> kind_of("Buyer's Signature", under=True, signing=True), kind_of("Seller Initials", under=False, signing=True)
    ('signature', 'initials')
    >>> kind_of("Date", under=True, signing=True), kind_of("Buyer", under=False, signing=False)
    ('field', 'field')
    >>> kind_of("within the period of", under=False, signing=True)
    """
    if _INITIALS.search(label):
        return "initials"
    if _SIGNED.search(label):
        return "signature"
    if _FIELD.search(label):
        return "field"
    if _PARTY.search(label):
        return "signature" if under or signing else "field"
    return None


def line_marks(lines: Sequence[Box], around: Around, text: str, written: Written) -> list[PageMark]:
    """The lines that are there to be signed or filled in; others, and underlined words, are left out."""
    return list(_marks(lines, around, _SIGNING.search(text) is not None, written))


def _marks(lines: Sequence[Box], around: Around, signing: bool, written: Written) -> Iterator[PageMark]:
    told = dict[Box, tuple[str, Kind]]()
    for line in sorted(lines, key=lambda box: (box[0], box[1])):  # whose words may be a line's further left
        meaning = _meaning(line, lines, around, signing) or _shared(line, told, around)
        on_it = around.standing_on(line)
        if meaning is None or _underlines(line, on_it):
            continue
        told[line] = meaning
        label, kind = meaning
        yield PageMark(
            kind=kind,
            filled=written(line, _not_on(line, around, on_it)),
            label=label,
            source="drawn",
            **sides(line),
        )


def _meaning(line: Box, lines: Sequence[Box], around: Around, signing: bool) -> tuple[str, Kind] | None:
    for label, under in ((around.under(line), True), (around.left_of(line, but=lines), False)):
        nearest = label if under else " ".join(label.split()[-_MAX_LABEL_WORDS // 2 :])
        if under and len(label.split()) > _MAX_LABEL_WORDS:
            continue
        if kind := kind_of(nearest, under=under, signing=signing):
            return nearest, kind
    return None


def _shared(line: Box, told: dict[Box, tuple[str, Kind]], around: Around) -> tuple[str, Kind] | None:
    """What the line just before it is for, where there is no word between them."""
    if around.touching_left(line, but=list(told)):
        return None
    reach = _ACROSS_POINTS * around.unit
    near = [
        other for other in told if 0 < line[0] - other[2] < reach and abs(line[3] - other[3]) < reach / 4
    ]  # fmt: skip
    return told[max(near, key=lambda other: other[2])] if near else None


def _underlines(line: Box, words: Sequence[PageWord]) -> bool:
    if not words or any(word.suspect for word in words):  # what handwriting is read as
        return False
    covered = max(word.right for word in words) - min(word.left for word in words)
    return covered >= _STANDS_ALL_OVER * (line[2] - line[0])


def _not_on(line: Box, around: Around, on_it: Sequence[PageWord]) -> list[Box]:
    """The words above a line that don't stand on it: the row above, and the cross that says where to sign."""
    row_above = around.rows(line[1] - 24 * around.unit, line[1] - 9 * around.unit)
    crosses = [word for word in on_it if word.text in _CROSS and word.left <= line[0] + 12 * around.unit]
    return [(word.left, word.top, word.right, word.bottom) for word in (*row_above, *crosses)]
