"""Optical character recognition of one grey page by Tesseract."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handlers.documents.cleaning import clean_line, clean_text
from handlers.documents.deskew import straighten
from jobqueue.errors import ConfigError, LimitExceeded, RejectedFile, SandboxCrashed, Unavailable

if TYPE_CHECKING:
    from PIL.Image import Image

TIMEOUT_S: Final = 90
# Find the orientation of the page, too: a sheet scanned sideways or upside down reads as nonsense without.
# It costs 0.1 to 0.2 s a page.
_LAYOUT: Final = "--psm 1"
MIN_SIDE_PIXELS: Final = 16  # nothing smaller holds a letter, and Tesseract fails on slivers


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A page's text and the mean confidence of its words, 0..1 (0 where there is no word)."""

    text: str
    confidence: float


def recognise(image: Image, *, languages: str, dpi: float | None) -> Recognised:
    """Read a grey page.

    Args:
        image: in any of the four orientations; a skew of a few degrees is taken out first.
        languages: Tesseract's codes, joined by ``+``.
        dpi: the picture's resolution where it is known.

    Raises:
        LimitExceeded: the page took longer than `TIMEOUT_S`.
        RejectedFile: Tesseract can't read the picture.
        SandboxCrashed: Tesseract was killed.
        Unavailable: Tesseract is not installed on this worker.
        ConfigError: it lacks one of the languages.
    """
    if min(image.size) < MIN_SIDE_PIXELS:
        return Recognised(text="", confidence=0.0)
    words = list(_words(_tesseract(image, languages, f"{_LAYOUT} --dpi {dpi:.0f}" if dpi else _LAYOUT)))
    confidence = sum(word.confidence for word in words) / len(words) if words else 0.0
    return Recognised(text=clean_text(_joined(words)), confidence=round(confidence, 4))


def _tesseract(image: Image, languages: str, options: str) -> dict[str, list[Any]]:
    """Tesseract's table of words: a list of values for each column."""
    import pytesseract

    # A page is one process's work: Tesseract's own threads spend six times the processor time on the same page.
    os.environ["OMP_THREAD_LIMIT"] = "1"
    try:
        _check_languages(languages, pytesseract.get_languages())
        with tempfile.TemporaryDirectory(prefix="ocr-") as folder:
            page = Path(folder) / "page.pgm"  # written raw: compressing a PNG costs as much as finding the lines
            straighten(image).save(page)
            table: dict[str, list[Any]] = pytesseract.image_to_data(
                str(page), lang=languages, config=options, output_type=pytesseract.Output.DICT, timeout=TIMEOUT_S
            )
    except pytesseract.TesseractNotFoundError as exc:
        raise Unavailable("tesseract is not installed on this worker: install tesseract-ocr") from exc
    except pytesseract.TesseractError as exc:
        if exc.status < 0:
            raise SandboxCrashed(f"tesseract died of signal {-exc.status}") from exc
        reason = clean_line(str(exc.message), max_chars=200)
        raise RejectedFile(f"tesseract can't read the page ({reason}): save the picture again") from exc
    except RuntimeError as exc:  # so pytesseract reports its timeout, after killing the process
        raise LimitExceeded(f"recognising the page took longer than {TIMEOUT_S} s: scan it cleaner or smaller") from exc
    return table


def _check_languages(wanted: str, installed: Collection[str]) -> None:
    """Tesseract itself leaves out a language it has no data for, and reads nonsense."""
    missing = [language for language in wanted.split("+") if language not in installed]
    if missing:
        raise ConfigError(
            f"ocr_languages is {wanted!r}, but tesseract has no data for {', '.join(missing)}: "
            f"install it (the package tesseract-ocr-<language>) or change the setting"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    text: str
    confidence: float
    paragraph: tuple[int, int]
    line: int


def _words(table: dict[str, list[Any]]) -> Iterator[_Word]:
    columns = (table[key] for key in ("text", "conf", "block_num", "par_num", "line_num"))
    for text, confidence, block, paragraph, line in zip(*columns, strict=True):
        if float(confidence) >= 0 and str(text).strip():  # -1 marks the rows of blocks, paragraphs and lines
            yield _Word(text=str(text), confidence=float(confidence) / 100, paragraph=(block, paragraph), line=line)


def _joined(words: list[_Word]) -> str:
    """Words to lines, a blank line between paragraphs."""
    parts: list[str] = []
    for before, word in zip([None, *words], words, strict=False):
        if before is not None:
            same_paragraph = before.paragraph == word.paragraph
            parts.append(" " if same_paragraph and before.line == word.line else "\n" if same_paragraph else "\n\n")
        parts.append(word.text)
    return "".join(parts)
