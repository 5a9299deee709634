"""Which state's law governs the contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from handlers.contracts.lexicon import STATE_NAMES, STATE_PATTERN, pattern
from handlers.contracts.pages import FlatText, Found

_OF_STATE: Final = rf"(?:the )?(?:(?:state|commonwealth) of )?(?P<state>{STATE_PATTERN})"
_FORMS: Final = (
    (
        pattern(
            r"\b(?:governed|construed|interpreted|enforced|determined)\b[^.]{0,160}?"
            rf"\blaws?\b(?: (?:of|in) {_OF_STATE}|[^.;]{{0,80}}?\b(?:state|commonwealth) of (?P<far>{STATE_PATTERN}))\b"
        ),
        0.95,
    ),
    (pattern(rf"\blaws? of {_OF_STATE}\b[^.]{{0,60}}\b(?:shall|will|to) (?:govern|apply|control)"), 0.95),
    (pattern(rf"\b(?P<state>{STATE_PATTERN}) law (?:shall|will|governs|applies|controls)\b"), 0.85),
    (pattern(rf"\bgoverning law\b[^.]{{0,60}}?\b(?P<state>{STATE_PATTERN})\b"), 0.8),
    (
        pattern(rf"\b(?:governed by|in accordance with|subject to|under) (?:the )?(?P<state>{STATE_PATTERN}) laws?\b"),
        0.7,
    ),
)


def find_law(flat: FlatText) -> Iterator[Found]:
    """The governing law as the state's name; nothing where the contract names it only as the property's state.

    The last place of the surest form counts: the clause stands near the end, after the mentions in passing.
    """
    for form, confidence in _FORMS:
        matches = list(form.finditer(flat.folded))
        if matches:
            match = matches[-1]
            group = "state" if match["state"] else "far"
            start, end = match.span(group)
            name = STATE_NAMES[" ".join(match[group].split())]
            yield Found(kind="governing_law", value=name, start=start, end=end, confidence=confidence)
            return
