"""Who the parties are: names and roles, from the opening, from labels, or from the signatures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from handlers.contracts.lexicon import pattern
from handlers.contracts.names import split_names
from handlers.contracts.pages import FlatText, Found, one_line

_ROLES: Final = {
    "seller": "seller", "vendor": "seller", "buyer": "buyer", "purchaser": "buyer", "vendee": "buyer",
    "landlord": "landlord", "lessor": "landlord", "sublessor": "landlord", "sublandlord": "landlord",
    "tenant": "tenant", "lessee": "tenant", "sublessee": "tenant", "subtenant": "tenant",
}  # fmt: skip
_ROLE: Final = r"(?:sub[ -]?)?(?:seller|vendor|buyer|purchaser|vendee|landlord|lessor|tenant|lessee)s?"

# "Seller", “the Landlord”, ("Pioneer Seller"); the last word may be a misreading, which `_role` mends.
_QUOTED: Final = pattern(r"\" ?(?:the )?(?:[\w/&.'-]{1,20} ){0,3}?(?P<role>[a-z-]{5,12})(?:\(s\))?[,.]? ?\"")
_DEFINED: Final = (
    pattern(rf"\((?:the |hereinafter |\"the )?\"?(?P<role>{_ROLE})\"?\)"),
    pattern(rf"\((?:the )?\"(?P<role>{_ROLE})\)"),
    pattern(
        rf"\b(?:referred to|designated|called|known)(?: (?:herein|hereinafter|hereafter|in this \w+|collectively|as|"
        rf"jointly)){{0,3}},? \"?(?:the )?(?P<role>{_ROLE})\b"
    ),
    pattern(rf"\b(?:as|the) (?P<role>{_ROLE})(?= ?[,;.)\n]| and\b|$)"),
    pattern(rf", ?(?:the )?(?P<role>{_ROLE}) ?(?:,|;| and\b)"),
    pattern(rf", ?(?:the )?(?P<role>{_ROLE}) ?(?=\()"),
)
_DEFINED_TERM: Final = re.compile(r"\([^()\"]{0,80}\"[^()]{1,120}\)")
_BETWEEN: Final = pattern(r"\b(?:between|among)(?:,|:| the following:?)? ")
_STOP: Final = pattern(
    r"\b(?:w ?i ?t ?n ?e ?s ?s ?e ?t ?h|whereas|recitals|now,? therefore|in consideration|agree as follows|"
    r"background|table of contents|of real property located)\b"
)
_LABEL: Final = pattern(rf"(?<![\w\"'])(?P<role>{_ROLE})(?:\(s\)|'s)?(?: names?)? ?: ?")
_LABEL_END: Final = re.compile(r"\s\d+(?:\.\d+)+\.?\s|\s[A-Z][A-Za-z'() ]{1,30}:|_{3,}|\bBy:|\sName:|\s\d{1,2}\.\s")
_RUNS_ON: Final = re.compile(r"(?:,|&|\band|company|corporation|partnership|,\sLLC|,\sInc\.?)\s*$", re.IGNORECASE)
_AND: Final = re.compile(r"\b(?:and|AND)\s(?=[A-Z0-9])")
_SENTENCE_OVER: Final = re.compile(r"[\"')\s]{0,4}\.\s")
_BEFORE_A_NAME: Final = pattern(r"\n| (?:to|from|between|undersigned,) ")
_OPENING: Final = 15_000
_WINDOW: Final = 2_500
_LABELLED: Final = 400
_SPECULATIVE: Final = 40  # openings, labels and definitions looked at; the real ones are among the first


@dataclass(frozen=True, slots=True)
class _Definition:
    """Where the text gives a role to what stands before it."""

    role: str
    start: int
    end: int


def find_parties(flat: FlatText, roles: tuple[str, ...]) -> Iterator[Found]:
    """The parties that hold ``roles`` (as ``("seller", "buyer")``), from the surest place that names each.

    Without roles, whoever an opening defines, as ``party``.
    """
    if not roles:
        yield from _anyone(flat)
        return
    missing = set(roles)
    for place, confidence in ((_from_openings, 0.95), (_from_definitions, 0.8), (_from_labels, 0.75)):
        if not missing:
            return
        found = [party for party in place(flat, confidence) if party.kind in missing]
        missing -= {party.kind for party in found}
        yield from found


def _openings(flat: FlatText) -> Iterator[tuple[int, int]]:
    """The stretches that may name the parties: from a "between" to the recitals, or as far as such a thing goes."""
    for match in islice(_BETWEEN.finditer(flat.folded, 0, _OPENING), _SPECULATIVE):
        stop = min(match.end() + _WINDOW, len(flat.text))
        halt = _STOP.search(flat.folded, match.end(), stop)
        yield match.end(), halt.start() if halt else stop


def _from_openings(flat: FlatText, confidence: float) -> list[Found]:
    """As in "between NAME ("Seller") and NAME ("Buyer")": the opening that defines most roles, the first of equals."""
    best: list[Found] = []
    for start, stop in _openings(flat):
        found = list(_defined_names(flat, start, _definitions(flat, start, stop), confidence))
        if len({party.kind for party in found}) > len({party.kind for party in best}):
            best = found
        if len({party.kind for party in best}) > 1:
            break
    return best


def _anyone(flat: FlatText) -> list[Found]:
    """The names of the opening that defines most parties, whatever it calls them."""
    best: list[Found] = []
    for start, stop in _openings(flat):
        terms = _DEFINED_TERM.finditer(flat.folded, start, stop)
        found = list(_defined_names(flat, start, (_Definition("party", t.start(), t.end()) for t in terms), 0.7))
        if len(found) > len(best):
            best = found
        if len(best) > 1:
            break
    return best


def _from_definitions(flat: FlatText, confidence: float) -> list[Found]:
    """As in "NAME (hereinafter "Lessor") does hereby lease to NAME": a name starts its line or clause."""
    found: dict[str, list[Found]] = {}
    for one in islice(_definitions(flat, 0, min(_OPENING, len(flat.text))), _SPECULATIVE):
        floor = max(0, one.start - _LABELLED)
        begin = max((mark.end() for mark in _BEFORE_A_NAME.finditer(flat.folded, floor, one.start)), default=floor)
        if one.role not in found and (names := _names(flat, begin, one.start, one.role, confidence)):
            found[one.role] = names
    return [party for names in found.values() for party in names]


def _from_labels(flat: FlatText, confidence: float) -> list[Found]:
    """As in "Seller: NAME", as forms, basic-data tables and signature blocks have it."""
    found: dict[str, list[Found]] = {}
    for match in islice(_LABEL.finditer(flat.folded), _SPECULATIVE * 5):
        role = _role(match["role"])
        if role is None or role in found:
            continue
        stop = min(match.end() + _LABELLED, len(flat.text))
        halt = _LABEL_END.search(flat.text, match.end(), stop)
        end = _list_end(flat.text, match.end(), halt.start() if halt else stop)
        if names := _names(flat, match.end(), end, role, confidence):
            found[role] = names
    return [party for names in found.values() for party in names]


def _list_end(text: str, start: int, stop: int) -> int:
    """The end of the first line that does not run on into the next."""
    while (line := text.find("\n", start, stop)) != -1:
        runs_on = _RUNS_ON.search(text[max(start, line - 40) : line]) or text.startswith(
            ("a ", "an ", "and "), line + 1
        )
        if not runs_on:
            return line
        start = line + 1
    return stop


def _defined_names(
    flat: FlatText, start: int, definitions: Iterable[_Definition], confidence: float
) -> Iterator[Found]:
    """The names that the definitions of a span refer to: each what stands between the last definition and this one."""
    cursor, closing = start, start
    seen: set[str] = set()
    for one in islice(definitions, _SPECULATIVE):
        if one.start < closing:  # a second definition within one pair of parentheses names nobody new
            cursor = closing
            continue
        if cursor > start and _SENTENCE_OVER.match(flat.text, cursor):
            return
        cursor = _restart(flat, cursor, one.start)
        opening = flat.text.rfind("(", cursor, one.start)
        inside = opening != -1 and flat.text.find(")", opening, one.start) == -1
        end = opening if inside else one.start
        for party in _side(flat, cursor, end, one.role, confidence):
            if party.value.lower() not in seen:
                seen.add(party.value.lower())
                yield party
        cursor = one.end
        if inside:
            closing = max(flat.text.find(")", one.start, one.start + _LABELLED) + 1, one.end)


def _side(flat: FlatText, start: int, stop: int, role: str, confidence: float) -> list[Found]:
    """The names of a segment; what trails the party before (its address, say) is passed at the first fitting "and"."""
    found = _names(flat, start, stop, role, confidence)
    joints = islice(_AND.finditer(flat.text, start, stop), 8)
    while not found and (joint := next(joints, None)):
        found = _names(flat, joint.end(), stop, role, confidence)
    return found


def _restart(flat: FlatText, start: int, stop: int) -> int:
    """Where the last "between" or "Seller:" of a span ends, or its start: a caption may come before."""
    ends = [match.end() for form in (_BETWEEN, _LABEL) for match in form.finditer(flat.folded, start, stop)]
    return max(ends, default=start)


def _definitions(flat: FlatText, start: int, stop: int) -> Iterator[_Definition]:
    found = [
        _Definition(role, match.start(), match.end())
        for form in (_QUOTED, *_DEFINED)
        for match in form.finditer(flat.folded, start, stop)
        if (role := _role(match["role"])) is not None
    ]
    end = start
    for one in sorted(found, key=lambda definition: definition.start):
        if one.start >= end:
            yield one
            end = one.end


def _names(flat: FlatText, start: int, stop: int, role: str, confidence: float) -> list[Found]:
    return [
        Found(kind=role, value=one_line(flat.text[start + a : start + b]), start=start + a, end=start + b,
              confidence=confidence)
        for a, b in split_names(flat.text[start:stop])
    ]  # fmt: skip


def _role(word: str) -> str | None:
    """The role that a word names, one misread letter forgiven in a word of five letters or more."""
    plain = re.sub(r"^sub[\s-]", "sub", word).removesuffix("s")
    if plain in _ROLES:
        return _ROLES[plain]
    for known, role in _ROLES.items():
        if len(known) == len(plain) and sum(a != b for a, b in zip(known, plain, strict=True)) == 1:
            return role
    return None
