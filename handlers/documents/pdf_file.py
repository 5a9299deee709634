"""Opening a PDF as it came: with its password, and damaged where the damage can be mended without losing a page.

The engines that read text would mend many files by themselves, and silently lose the pages that are gone. So a damaged
or locked file is written anew here, for reading; the original stays as it is.
"""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from handlers.documents.cleaning import clean_line
from jobqueue.errors import LimitExceeded, RejectedFile

if TYPE_CHECKING:
    import pikepdf

_HEAD_BYTES: Final = 4_096
_TAIL_BYTES: Final = 4_096
_LINEARIZED: Final = re.compile(rb"/Linearized\b.{0,200}?/L\s+(\d{1,12})\b", re.DOTALL)
_HARMLESS: Final = "Resources is missing"  # so said of blank pages
_CUT_MARKS: Final = ("endstream", "EOF")
_REFERENCE: Final = re.compile(rb"\b(\d{1,8}) \d{1,5} R\b")
_OBJECT: Final = re.compile(rb"\b(\d{1,8}) \d{1,5} obj\b")
Copy = Literal["decrypted", "repaired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfSource:
    """A PDF as uploaded. ``name`` is for messages; ``copy_to`` is where a readable copy may be written."""

    path: Path
    name: str
    size_bytes: int
    password: str | None = None
    copy_to: Path | None = None


@contextmanager
def opened(source: PdfSource) -> Iterator[pikepdf.Pdf]:
    """The PDF's objects; whatever fails over them inside of the block is the file's fault.

    Raises:
        RejectedFile: damaged beyond repair, or the password is missing or wrong.
    """
    import pikepdf

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a password that wasn't needed
            pdf = pikepdf.open(source.path, password=source.password or "")
        with pdf:
            yield pdf
    except pikepdf.PasswordError:
        raise _locked(source) from None
    except (LimitExceeded, RejectedFile, MemoryError):
        raise
    except (pikepdf.PdfError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, OSError) as exc:
        reason = clean_line(str(exc).replace(str(source.path), ""), max_chars=200)
        raise RejectedFile(
            f"{source.name} is damaged and can't be opened as a PDF ({reason}): export it again and upload that"
        ) from exc


def needed_copy(source: PdfSource, pdf: pikepdf.Pdf) -> Copy | None:
    """Why this PDF, all of whose objects have been looked at, is to be read from a copy; None where it isn't.

    Raises:
        RejectedFile: its end is missing, and with it some of what it had.
    """
    with source.path.open("rb") as file:
        linearized = _LINEARIZED.search(file.read(_HEAD_BYTES))
        file.seek(max(0, source.size_bytes - _TAIL_BYTES))
        ended = b"%%EOF" in file.read()
    declared = _declared_pages(pdf)  # before the pages are walked, which may set it right
    pages = list(pdf.pages)
    if linearized and int(linearized[1]) > source.size_bytes:
        raise _cut_off(source.name)
    damage = [warning for warning in pdf.get_warnings() if _HARMLESS not in warning]
    if not ended and not (declared == len(pages) and _nothing_is_missing(source, pages, damage)):
        raise _cut_off(source.name)
    if 0 < len(pages) < declared:
        missing = f"{declared - len(pages):,} of its {declared:,} pages"
        raise RejectedFile(f"{source.name} is damaged, {missing} are missing: export it again and upload that")
    if not ended or damage:
        return "repaired"
    return "decrypted" if source.password and pdf.is_encrypted else None


def write_copy(source: PdfSource, pdf: pikepdf.Pdf, why: Copy) -> Path:
    """Write the readable copy, without a password.

    Raises:
        RejectedFile: there is no place for one.
    """
    if source.copy_to is None:
        raise RejectedFile(f"{source.name} would have to be {why} to be read: do that and upload it again")
    if "/Size" not in pdf.trailer:  # lost with the file's end; without it the copy would be damaged, too
        pdf.trailer["/Size"] = len(pdf.objects) + 1
    pdf.save(source.copy_to, encryption=False)
    return source.copy_to


def _declared_pages(pdf: pikepdf.Pdf) -> int:
    count: Any = pdf.Root.Pages.get("/Count")
    return count if isinstance(count, int) else 0


def _nothing_is_missing(source: PdfSource, pages: list[pikepdf.Page], damage: list[str]) -> bool:
    """Whether a file without an end lost no more than its index: every object that is referred to is there, and whole.

    Not to be told of objects packed into streams, so such a file counts as cut off.
    """
    data = source.path.read_bytes()
    referred, present = set(_REFERENCE.findall(data)), set(_OBJECT.findall(data))
    cut = any(mark in warning for warning in damage for mark in _CUT_MARKS)
    return b"/ObjStm" not in data and referred <= present and not cut and all("/Contents" in page for page in pages)


def _locked(source: PdfSource) -> RejectedFile:
    if source.password:
        return RejectedFile(f"{source.name} is protected by a password, and the one given doesn't open it: check it")
    return RejectedFile(
        f"{source.name} is protected by a password: submit it with its password, or remove the password and upload it "
        "again"
    )


def _cut_off(name: str) -> RejectedFile:
    return RejectedFile(f"{name} is cut off, its end is missing: upload the whole PDF again")
