"""Recognition by the program ``tesseract``: a process a page, fed and read by pipes."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from handlers.documents.cleaning import clean_line
from handlers.documents.ocr_engines import ORIENTATION_ONLY, PAGE_LAYOUT, Orientation, Word, words_of_table
from jobqueue.errors import LimitExceeded, RejectedFile, SandboxCrashed, Unavailable

if TYPE_CHECKING:
    from PIL.Image import Image

_LIST_TIMEOUT_S: Final = 20.0
_LISTED_IN: Final = re.compile(r'"(.+)"')
_ORIENTATION: Final = re.compile(r"Rotate: (\d+)\s+Orientation confidence: ([\d.]+)")
_TOO_FEW_LETTERS: Final = "Too few characters"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageData:
    """Where Tesseract's language data lies, and the codes found there."""

    folder: Path
    languages: frozenset[str]


def language_data() -> LanguageData:
    """The system's language data. Raises `Unavailable` where Tesseract is not installed."""
    return _language_data(_program(), os.environ.get("TESSDATA_PREFIX", ""))


class TesseractProgram:
    """The engine ``tesseract``.

    pytesseract is not in between: it writes each page to a file and has it compressed, and leaves the process running
    when its caller goes away. This one stays in the caller's process group, which the sandbox kills as a whole.
    """

    def languages(self) -> frozenset[str]:
        return language_data().languages

    def words(self, image: Image, *, languages: str, dpi: float | None, timeout_s: float) -> list[Word]:
        options = ["-l", languages, "--psm", str(PAGE_LAYOUT), "-c", "tessedit_create_tsv=1"]
        if dpi:
            options += ["--dpi", f"{dpi:.0f}"]
        return words_of_table(_run(image, options, timeout_s))

    def orientation(self, image: Image, *, timeout_s: float) -> Orientation | None:
        if "osd" not in self.languages():
            return None
        try:
            found = _ORIENTATION.search(_run(image, ["-l", "osd", "--psm", str(ORIENTATION_ONLY)], timeout_s))
        except RejectedFile as exc:
            if _TOO_FEW_LETTERS in str(exc):
                return None
            raise
        return Orientation(degrees=int(found[1]), confidence=float(found[2])) if found else None


def _run(image: Image, options: list[str], timeout_s: float) -> str:
    """What tesseract says of a grey picture."""
    # Raw: compressing the picture would cost as much as finding its lines.
    page = b"P5 %d %d 255\n" % image.size + image.tobytes()
    with subprocess.Popen(  # noqa: S603  # options of ours; the page goes in by the pipe
        [_program(), "stdin", "stdout", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(os.environ),
    ) as process:
        try:
            out, err = process.communicate(page, timeout=timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise LimitExceeded(f"recognising the page took longer than {timeout_s:g} s: scan it smaller") from exc
        finally:
            process.kill()  # does nothing to one that has ended and been waited for
    if process.returncode < 0:
        raise SandboxCrashed(f"tesseract died of signal {-process.returncode}")
    if process.returncode:
        reason = clean_line(err.decode(errors="replace"), max_chars=200)
        raise RejectedFile(f"tesseract can't read the page ({reason}): save the picture again")
    return out.decode(errors="replace")


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    # A page is one process's work: Tesseract's own threads spend four times the processor time on it.
    return {**given, "OMP_THREAD_LIMIT": "1"}


def _program() -> str:
    found = shutil.which("tesseract")
    if found is None:
        raise Unavailable("tesseract is not installed on this worker: install tesseract-ocr")
    return found


@functools.lru_cache(maxsize=4)  # asked at every page; a child lives for a few dozen of them
def _language_data(program: str, _prefix: str) -> LanguageData:
    done = subprocess.run(  # noqa: S603  # no input of anyone's
        [program, "--list-langs"],
        check=False, capture_output=True, text=True, errors="replace", timeout=_LIST_TIMEOUT_S,
    )  # fmt: skip
    title, *codes = done.stdout.splitlines() or [""]
    folder = _LISTED_IN.search(title)
    return LanguageData(folder=Path(folder[1] if folder else ""), languages=frozenset(codes))
