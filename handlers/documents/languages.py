"""Which of the installed languages a page is in.

Tesseract reads the letters of one language's model on a page in another of the same script well enough to tell the
languages apart by their commonest words.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from jobqueue.errors import ConfigError

AUTO: Final = "auto"
_NO_LANGUAGES: Final = frozenset({"osd", "equ"})  # data for orientation and for formulas
_MIN_WORDS: Final = 20
_MIN_LEAD: Final = 1.5  # times as many of its common words as of the language that the page was read in
_MIN_SHARE: Final = 0.1  # of all words; a third of them in prose, a sixth in forms
_ISO_639_1: Final = {
    "eng": "en", "deu": "de", "fra": "fr", "spa": "es", "ita": "it", "por": "pt", "nld": "nl",
}  # fmt: skip
# Words that stand in every text of the language, and hardly in one of another.
_COMMON: Final = {
    code: frozenset(words.split())
    for code, words in {
        "eng": "the of and to is in that for with be by this shall or on are as from not which",
        "deu": "der die und den das von zu mit ist des dem nicht eine auf für sich ein werden oder wird",
        "fra": "le la les et des du une est dans pour par que qui sur au avec aux ou sont cette",
        "spa": "el la los las y del una por con para es que se al como este esta su o entre",
        "ita": "il di che la per del della sono con non una nel alla dei si da le gli ed questo",
        "por": "o os as e do da dos das em um uma para com não que por ao pela são no",
        "nld": "de het een en van dat te op voor zijn met niet aan door wordt bij ook naar uit als",
    }.items()
}


def choose(setting: str, installed: Collection[str]) -> str:
    """The languages to begin with: the setting's own; for ``auto`` English, or the first installed there is.

    Raises `ConfigError` where nothing is installed.

    >>> choose("deu+fra", ["deu", "fra"]), choose("auto", ["deu", "eng", "osd"]), choose("auto", ["osd", "spa"])
    ('deu+fra', 'eng', 'spa')
    """
    if setting != AUTO:
        return setting
    usable = sorted(set(installed) - _NO_LANGUAGES)
    if not usable:
        raise ConfigError("tesseract has no data for any language: install tesseract-ocr-eng (apt-get)")
    return "eng" if "eng" in usable else usable[0]


def language_of(text: str) -> str | None:
    """The language of a text by its commonest words, as ISO 639-1 has it; None where it is another, or too little.

    >>> language_of("The seller delivers the deed to the buyer and is not liable for the state of the roof. " * 2)
    'en'
    >>> language_of("Der Verkäufer übergibt die Urkunde und haftet nicht für den Zustand von Dach und Keller. " * 2)
    'de'
    >>> language_of("Lot 7, Block 3"), language_of("Myyjä luovuttaa kiinteistön ostajalle vapaana rasituksista. " * 9)
    (None, None)
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    if len(words) < _MIN_WORDS:
        return None
    counts = {code: sum(word in common for word in words) for code, common in _COMMON.items()}
    best, second = sorted(counts, key=counts.__getitem__, reverse=True)[:2]
    plain = counts[best] > _MIN_LEAD * counts[second] and counts[best] > _MIN_SHARE * len(words)
    return _ISO_639_1[best] if plain else None


def likelier(text: str, read_in: str, installed: Collection[str]) -> str | None:
    """The installed language that a text is in, where that is plainly not the one it was read in.

    >>> german = "Der Käufer zahlt den Preis und die Kosten der Übertragung, die mit dem Kauf verbunden ist " * 2
    >>> likelier(german, "eng", ["deu", "eng", "osd"]), likelier(german, "eng", ["eng"]), likelier("", "eng", ["deu"])
    ('deu', None, None)
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    if len(words) < _MIN_WORDS:
        return None
    counts = {code: sum(word in common for word in words) for code, common in _COMMON.items()}
    best = max(counts, key=counts.__getitem__)
    known = best in installed and best not in read_in.split("+")
    return best if known and counts[best] > _MIN_LEAD * counts.get(read_in, 0) else None
