"""Right-to-left text in display order, for a writer that only knows how to set glyphs from left to right.

A subset of the Unicode Bidirectional Algorithm (UAX #9: implicit levels, no embeddings or isolates, which
`handlers.rendering.text.clean` removes) and of Arabic joining by the presentation forms of Unicode. Lines must be
broken before they are reordered, so the caller wraps first.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

_RIGHT: Final = {"R", "AL"}
_NUMBER: Final = {"EN", "AN"}
_MIRRORED: Final = str.maketrans("()[]{}<>«»‹›", ")(][}{><»«›‹")
_LAM: Final = "\u0644"
# (joined to the letter before, to the letter after) -> the name of the form in the Unicode character database
_SHAPES: Final = {(False, False): "isolated", (False, True): "initial", (True, True): "medial", (True, False): "final"}


def has_rtl(text: str) -> bool:
    """Whether the text has any right-to-left letter.

    >>> has_rtl("Main Street"), has_rtl("Main שלום")
    (False, True)
    """
    return any(unicodedata.bidirectional(char) in _RIGHT for char in text)


def starts_rtl(text: str) -> bool:
    """Whether the text as a whole runs from right to left: its first letter does (rules P2 and P3).

    >>> starts_rtl("Main שלום"), starts_rtl("12 שלום, Main")
    (False, True)
    """
    kinds = map(unicodedata.bidirectional, text)
    return next((kind in _RIGHT for kind in kinds if kind == "L" or kind in _RIGHT), False)


def wrap(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """Break ``text`` into lines of at most ``width``; a word that is wider is broken anywhere.

    ``measure`` gives the width of a string, which must be the sum of its characters' (no kerning).

    >>> wrap("aa bb cccccc", 5, len)
    ['aa bb', 'ccccc', 'c']
    """
    lines, line, used = [], "", 0.0
    for word in text.split(" "):
        word_width, space = measure(word), measure(" ") if line else 0.0
        if used + space + word_width <= width:
            line, used = f"{line} {word}" if line else word, used + space + word_width
            continue
        if line:
            lines.append(line)
        line, used = "", 0.0
        for char in word:
            char_width = measure(char)
            if line and used + char_width > width:
                lines.append(line)
                line, used = "", 0.0
            line, used = line + char, used + char_width
    return [*lines, line] if line else lines


def visual(line: str, *, rtl: bool = False) -> str:
    """One line in display order, Arabic letters joined; ``rtl`` when the text it is a line of `starts_rtl`.

    >>> visual("Seller: אבג 12, Haifa") == "Seller: 12 גבא, Haifa"
    True
    """
    clusters = _clusters(_joined(line))
    levels = _levels([unicodedata.bidirectional(cluster[0]) for cluster in clusters], int(rtl))
    shown = [c.translate(_MIRRORED) if level % 2 else c for c, level in zip(clusters, levels, strict=True)]
    # Rule L2: from the highest level down, reverse every run at that level or above.
    for bound in range(max(levels, default=0), 0, -1):
        start = 0
        while start < len(shown):
            end = start
            while end < len(shown) and levels[end] >= bound:
                end += 1
            shown[start:end] = reversed(shown[start:end])
            levels[start:end] = reversed(levels[start:end])
            start = end + 1
    return "".join(shown)


def _clusters(text: str) -> list[str]:
    # A mark follows its letter on paper whichever way the line runs, so the two are moved as one.
    clusters: list[str] = []
    for char in text:
        if clusters and unicodedata.bidirectional(char) == "NSM":
            clusters[-1] += char
        else:
            clusters.append(char)
    return clusters


def _levels(kinds: Sequence[str], base: int) -> list[int]:
    left = 2 * base  # the even level of left-to-right text
    directions = _directions(kinds, base)
    levels = []
    for i, (kind, direction) in enumerate(zip(kinds, directions, strict=True)):
        if direction is None:
            levels.append(_neutral_level(kinds, directions, i, base))
        elif direction == "L":
            levels.append(left)
        else:
            levels.append(2 if kind in _NUMBER else 1)
    return levels


def _directions(kinds: Sequence[str], base: int) -> list[str | None]:
    # A number goes with the letters before it (W7), but its digits keep their order whatever those are.
    found: list[str | None] = []
    last = "R" if base else "L"
    for kind in kinds:
        if kind == "L" or kind in _RIGHT:
            last = "L" if kind == "L" else "R"
        found.append(last if kind == "L" or kind in _RIGHT or kind in _NUMBER else None)
    return found


def _neutral_level(kinds: Sequence[str], directions: Sequence[str | None], i: int, base: int) -> int:
    # A separator within a number ("1,250.00") is part of it (W4); others follow neighbours that agree (N1, N2).
    inside = 0 < i < len(kinds) - 1 and kinds[i] in {"CS", "ES"}
    if inside and kinds[i - 1] in _NUMBER and kinds[i + 1] in _NUMBER:
        return 2 if directions[i - 1] == "R" else 2 * base
    outside = "R" if base else "L"
    before = next((found for found in reversed(directions[:i]) if found), outside)
    after = next((found for found in directions[i + 1 :] if found), outside)
    if before != after:
        return base
    return 1 if before == "R" else 2 * base


@cache
def _forms() -> dict[str, dict[str, str]]:
    # Unicode itself says which presentation form belongs to which letters: "<initial> 0628" of U+FE91.
    forms: dict[str, dict[str, str]] = {}
    for code in (*range(0xFB50, 0xFC00), *range(0xFE80, 0xFEFD)):
        tag, *letters = unicodedata.decomposition(chr(code)).split() or [""]
        if tag in {"<isolated>", "<initial>", "<medial>", "<final>"}:
            base = "".join(chr(int(letter, 16)) for letter in letters)
            # A letter alone is its own isolated form, and the one that fonts have.
            alone = tag == "<isolated>" and len(base) == 1
            forms.setdefault(base, {})[tag[1:-1]] = base if alone else chr(code)
    return forms


def _joined(text: str) -> str:
    forms, clusters = _forms(), _clusters(text)
    out, joins, i = "", False, 0  # joins: the letter before reaches out to this one
    while i < len(clusters):
        letter, marks, after = clusters[i][0], clusters[i][1:], clusters[i + 1] if i + 1 < len(clusters) else " "
        if letter == _LAM and letter + after[0] in forms:  # the one ligature that Arabic spelling demands
            letter, marks = letter + after[0], marks + after[1:]
            i += 1
            after = " "
        known = forms.get(letter, {})
        reaches = "initial" in known and "final" in forms.get(after[0], {})
        out += known.get(_SHAPES[joins, reaches], letter) + marks
        joins, i = reaches, i + 1
    return out
