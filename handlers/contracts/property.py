"""The property: its street address and its legal description."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from handlers.contracts.cues import Cue, Stretch, best, cue, stretches
from handlers.contracts.lexicon import STATE_CODES, STATES, pattern
from handlers.contracts.pages import FlatText, Found, one_line

_STATE: Final = rf"(?:(?:{STATES})\b|(?:{STATE_CODES})\b|N\.Y\.|D\.C\.|Fla\.|Cal(?:if)?\.|Tex\.|Mass\.)"
_SUFFIX: Final = (
    r"(?:Street|STREET|St\b\.?|ST\b|Avenue|AVENUE|Ave\b\.?|AVE\b|Road|ROAD|Rd\b\.?|RD\b|Drive|DRIVE|Dr\b\.?|DR\b|"
    r"Boulevard|BOULEVARD|Blvd\b\.?|BLVD\b|Lane|LANE|Ln\b\.?|LN\b|Court|COURT|Ct\b\.?|Circle|CIRCLE|Cir\b\.?|Place|"
    r"PLACE|Pl\b\.?|Parkway|PARKWAY|Pkwy\b\.?|Highway|HIGHWAY|Hwy\b\.?|Way|WAY|Terrace|TERRACE|Trail|TRAIL|Plaza|"
    r"PLAZA|Square|SQUARE|Loop|Pike|Turnpike|Expressway|Freeway|Alley|Row|Park|Crossing|Broadway|Path|Run|Ridge|"
    r"Center|Commons)"
)
_UNIT: Final = r"(?:,? (?:Suite|SUITE|Ste\.?|Unit|UNIT|Apt\.?|Apartment|Building|Bldg\.?|Floor|#|No\.) ?#?[\w-]{1,8})"
_CITY: Final = r"[A-Z][A-Za-z.'-]{1,20}(?: [A-Z][A-Za-z.'-]{1,20}){0,3}"
_TOWN: Final = (
    rf",? (?:in )?(?:the (?:City|Town|"
    rf"Village) of )?{_CITY}(?:, [A-Z][a-z]{{2,14}}(?: [A-Z][a-z]{{2,14}})? County)?,? (?:State of )?{_STATE}(?:,? "
    rf"\d{{5}}(?:-\d{{4}})?)?"
)
_STREET: Final = pattern(
    rf"(?<![\w$.,-])\d{{1,6}}(?:[-/]?[A-Z](?:/[A-Z])?\b|-\d{{1,5}}| ?1/2)? (?:\d{{1,4}} |[NSEW]{{1,2}}\b\.? |"
    rf"(?:North|South|East|West)\w{{0,5}} |NORTH |SOUTH |EAST |"
    r"WEST )?"
    rf"(?:(?:\d{{1,4}} ?(?:st|nd|rd|th|ST|ND|RD|TH)|[A-Z][A-Za-z.'-]{{0,20}}|of|the|de|"
    rf"la) ){{1,5}}?{_SUFFIX}(?: (?:N|S|E|W|NW|NE|SW|SE|North|South|East|West)\b\.?)?{_UNIT}?(?:{_TOWN})?{_UNIT}?"
)
_WORD: Final = r"[A-Z][\w&.'-]{0,20}"
_NAMED: Final = pattern(
    rf"(?:\[|known as |called |referred to as |property:? )\"?(?:the )?(?P<place>{_WORD}(?: (?:of|on|at|the|and|"
    rf"{_WORD})){{0,7}}\"?,? (?:located )?(?:in )?{_CITY}, {_STATE})"
)
_WHERE: Final = (
    cue(
        r"\b(?:property address|premises address|address of (?:the )?(?:property|premises)|street address)\b",
        0.95,
        80,
    ),
    cue(r"\b(?:commonly (?:known|described)|known|numbered) (?:as|by|and)\b", 0.9, 110),
    cue(r"\b(?:located|situated?d?|lying|being) (?:at|in|on)\b", 0.85, 90),
    cue(r"\bpremises:?", 0.75, 120),
    cue(r"\b(?:property|building|real estate|land)\b", 0.6, 120),
    cue(r"\baddress of\b", 0.7, 40),
    cue(r"^[^.]{0,100}\(the \"(?:leased |demised )?(?:premises|property)", 0.8, 130, after=True),
    cue(
        r"^.{0,30}\(?(?:the|herein|hereinafter)?.{0,14}\"?(?:premises|property|building|project|leased premises)",
        0.85,
        60,
        after=True,
    ),
    cue(
        r"\b(?:having (?:an?|its) (?:mailing |business |principal )?(?:address|offices?|place)|whose|business|"
        r"mailing|principal|notice|offices? (?:is |are )?(?:at|located)|c/o|attn|attention|payable|broker|by mail|"
        r"addressed|place of business|if to|copy to|title company|address is|telephone|fax)",
        -0.7,
        120,
    ),
    cue(r"(?:landlord|lessor|tenant|lessee|seller|buyer|purchaser)'?s?'? (?:\w+ )?(?:address|office)", -0.7, 100),
    cue(r"^.{0,40}(?:attn|attention|telephone|phone|fax|facsimile|tel\b)", -0.6, 60, after=True),
)
_ELSEWHERE: Final = cue(r"\b(?:exhibit|witness|notary|in witness)\b", -0.2, 200)
_LEGAL: Final = pattern(
    r"\b(?:legal description|legally described)(?: of (?:the )?(?:property|premises|land))?(?: (?:is|as|"
    r"as follows))*[: ]{1,2}(?P<legal>(?:lots?|units?|parcels?|tracts?|the \w+ (?:half|quarter)|that (?:certain|"
    r"part)|block|a parcel|beginning)\b[^.;]{10,400})"
)
_LOT: Final = pattern(r"\b(?P<legal>lots? \w{1,6},? (?:in )?block \w{1,6},? [^.;\n]{5,200})")
_NEXT_LABEL: Final = re.compile(r"\n(?=[A-Z][A-Za-z ']{2,30}:)")
_EARLY: Final = 40_000  # an address further in belongs to exhibits and notices


def find_property(flat: FlatText) -> Iterator[Found]:
    """The property's address, and its legal description where the text spells one out."""
    cues: tuple[Cue, ...] = (*_WHERE, _ELSEWHERE)
    chosen = best(stretches(_STREET, flat.text, 0, _EARLY), flat.folded, cues)
    if chosen and chosen[1] >= 0.3:  # noqa: PLR2004  # weaker: an address, but of whom?
        yield _found("property_address", chosen[0], flat, chosen[1])
    else:
        named = _NAMED.search(flat.text, 0, _EARLY)
        if named:
            start, end = named.span("place")
            yield _found("property_address", Stretch(start, end, named["place"]), flat, 0.5)
    legal = _LEGAL.search(flat.folded) or _LOT.search(flat.folded)
    if legal:
        start, end = legal.span("legal")
        yield _found("legal_description", Stretch(start, end, flat.text[start:end]), flat, 0.7)


def _found(kind: str, where: Stretch, flat: FlatText, confidence: float) -> Found:
    text = _NEXT_LABEL.split(flat.text[where.start : where.end], maxsplit=1)[0].rstrip(" \n,;")
    return Found(kind=kind, value=one_line(text), start=where.start, end=where.start + len(text), confidence=confidence)
