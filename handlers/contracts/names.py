"""Names of people and companies cut out of running text."""

from __future__ import annotations

import re
from typing import Final

from handlers.contracts.lexicon import pattern

_FORM: Final = (
    r"(?:company|corporation|partnership|trust|association|bank|individuals?|persons?|organization|agency|authority|"
    r"municipality|institution|entity|man|woman|couple|proprietorship|cooperative|union|REIT|subdivision)"
)
_CORPORATE: Final = re.compile(
    r"(?i)(?:,?\s(?:inc|l\.?l\.?c|corp|ltd|l\.?p|l\.?l\.?p|l\.?l\.?l\.?p|n\.?a|p\.?c|p\.?a|co|plc)\b\.?|\b(?:company|"
    r"corporation|incorporated|limited|partnership|partners|trust|bank|association|associates|properties|enterprises|"
    r"holdings|investments|group|foundation|university|authority|ventures|development))\s*$"
)
# What ends a name: its description, its address, its alias, its definition.
_DESCRIPTION: Final = rf",? (?i:an?|a\(n\)|each an?|both)(?:\(n\))? [^,;()\"]{{0,70}}?\b(?i:{_FORM})\b"
_ASIDE: Final = (
    r"(?i:having|whose|with (?:an?|its|offices)|acting|organized|existing under|incorporated (?:in|under)|"
    r"doing business|d/?b/?a\b|hereinafter|hereafter|herein|referred to|collectively|does|hereby|or (?:its|"
    r"their) (?:assign|nominee|design)|and/or (?:its )?assigns|as (?:the )?\"?(?:sub ?)?(?:seller|buyer|purchaser|"
    r"landlord|lessor|tenant|lessee|trustee|agent|nominee|successor|tenants|joint)|whose|who|which|shall|dated|c/o|"
    r"attn|attention|telephone|\bby and through)\b"
)
_AFTER_COMMA: Final = (
    r"(?i:located|formed|individually|husband|wife|married|unmarried|single|jointly|severally|together|not|of \d|"
    r"for itself|on behalf|at \d|the address|under|in connection|through|also known|formerly|successor|as|"
    r"the (?:seller|buyer|lessor|lessee|landlord|tenant))\b"
)
_END: Final = pattern(
    rf"(?P<description>{_DESCRIPTION})|,? {_ASIDE}|, {_AFTER_COMMA}|"
    rf",? \d{{1,6}}[\w-]* (?=[A-Z]\w+[ ,.])(?! ?\w* (?i:street|avenue))"
    r"|\(|;|\"|\[|__|:|\.\s(?=[A-Z][a-z]+ (?:[a-z]+ ){2})"
)
_NEXT: Final = re.compile(r"[\s,;]*(?:\([^()]{0,200}\)[\s,;]*)?(?:and|AND|&)?[\s,;]*(?=[A-Z0-9])")
_LEAD: Final = re.compile(
    r"^[\s,;:.)\]\"(-]*(?:(?:and|by|between|among|the following|from|to|both|BETWEEN|AND|BY)\b[\s,:;]*)*"
)
_TRAIL: Final = re.compile(r"[\s,;:\"'(-]*(?:\s(?:as|the|is|and|AND|AS)[\s,;:\"'(-]*)?$")
_AND: Final = re.compile(r",?\s(?:and|AND|&)\s")
_AND_OR_COMMA: Final = re.compile(r",?\s(?:and|AND|&)\s|,\s")
_PERSON: Final = r"[A-Z][\w.'-]{0,30}(?:\s[A-Z][\w.'-]{0,30}){1,3}"
_PEOPLE: Final = re.compile(rf"{_PERSON}(?:,\s{_PERSON}){{1,10}},?\s(?:and|AND|&)\s{_PERSON}[\s,]*")
_NOT_NAMES: Final = re.compile(
    r"(?i)^(?:the )?(?:agreement|lease|seller|buyer|purchaser|landlord|tenant|lessor|lessee|part(?:y|ies)|this|"
    r"exhibit|section|effective date|property|premises|each|any|name|date|address|signature|title|by|its|article|"
    r"broker|all|if|owner|undersigned)\b(?!.*\b(?:inc|llc|l\.l\.c|corp|ltd|company|properties|partnership|trust|lp|"
    r"l\.p)\b)"
)
_LEAST_LETTERS: Final = 3
_MAX_NAME: Final = 120
_MAX_NAMES: Final = 12


def split_names(text: str) -> list[tuple[int, int]]:
    """The spans of the names in a stretch that names one side of a contract.

    >>> side = "Ann Lee and Bo Lee, husband and wife"
    >>> [side[a:b] for a, b in split_names(side)]
    ['Ann Lee', 'Bo Lee']
    >>> side = "ELM COURT, LLC, a Georgia limited liability company, and OAK & SONS, INC., an Iowa corporation, as"
    >>> [side[a:b] for a, b in split_names(side)]
    ['ELM COURT, LLC', 'OAK & SONS, INC.']
    """
    spans: list[tuple[int, int]] = []
    lead = _LEAD.match(text)
    start = lead.end() if lead else 0
    while start < len(text) and len(spans) < _MAX_NAMES:
        end = _END.search(text, start)
        stop = end.start() if end else len(text)
        spans.extend(_individuals(text, start, stop))
        if end is None or end["description"] is None:
            break  # only right after its description ("a Delaware corporation") may another name follow at once
        following = _NEXT.match(text, end.end())
        if following is None:
            break
        start = following.end()
    return spans


def _individuals(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """One span, or several where the stretch joins whole names with "and"."""
    corporate = bool(_CORPORATE.search(text[start:stop].rstrip(" ,.\n")))
    joint = _AND if corporate or not _PEOPLE.fullmatch(text, start, stop) else _AND_OR_COMMA
    cuts = [(match.start(), match.end()) for match in joint.finditer(text, start, stop)]
    pieces, begin = [], start
    for left, right in cuts:
        if not corporate or _CORPORATE.search(text[begin:left].rstrip(" ,\n")):
            pieces.append((begin, left))
            begin = right
    pieces.append((begin, stop))
    return [span for span in (_trim(text, a, b) for a, b in pieces) if span is not None]


def _trim(text: str, start: int, stop: int) -> tuple[int, int] | None:
    lead = _LEAD.match(text[start:stop])
    start += lead.end() if lead else 0
    stop = start + len(_TRAIL.sub("", text[start:stop]))
    name = text[start:stop]
    plausible = (
        sum(char.isalpha() for char in name) >= _LEAST_LETTERS
        and len(name) <= _MAX_NAME
        and " shall " not in name
        and not _NOT_NAMES.match(name)
        # "150 Second Street, LLC" is a party, "150 Second Street" is where one lives
        and (name[0].isupper() or (name[0].isdigit() and bool(_CORPORATE.search(name))))
    )
    return (start, stop) if plausible else None
