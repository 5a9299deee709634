"""What is done about active content: the one table of what is refused, and what a person is told of.

Nothing active is ever run here. What is refused does harm, or shows other things than what was checked, when the file
is opened elsewhere; what is only told of is common in honest forms and contracts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from handlers.documents.cleaning import clean_line
from jobqueue.errors import RejectedFile

Severity = Literal["refuse", "warn"]
CHECKS: Final = 2
"""Version of all checks of ingest, raised whenever they find more: no result of others stands for a new upload."""
MAX_FINDINGS: Final = 50
_MAX_DETAIL_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one kind of finding means. ``title`` goes on after "It"."""

    severity: Severity
    title: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Found:
    """One thing found: a code of `POLICY`, and what it is about (a name, an address)."""

    code: str
    detail: str = ""


def _refuse(title: str) -> Rule:
    return Rule(severity="refuse", title=title)


def _warn(title: str) -> Rule:
    return Rule(severity="warn", title=title)


POLICY: Final[dict[str, Rule]] = {
    "pdf_launch": _refuse("starts a program when it is opened or clicked"),
    "pdf_embedded_program": _refuse("has a program embedded in it"),
    "pdf_network_file": _refuse("opens a file on another computer, which gives away who reads it"),
    "pdf_dynamic_xfa": _refuse("is a dynamic form (XFA), whose pages only Adobe's programs can make"),
    "pdf_javascript": _warn("holds JavaScript"),
    "pdf_open_action": _warn("does something when it is opened"),
    "pdf_embedded_file": _warn("has a file embedded in it, which isn't read"),
    "pdf_xfa": _warn("holds an XFA form beside its pages"),
    "pdf_rich_media": _warn("holds video, sound or 3D content, which isn't read"),
    "pdf_file_link": _warn("links to a file on the reader's computer"),
    "pdf_submit": _warn("sends its form's fields to an address"),
    "office_macros": _refuse("holds macros"),
    "office_remote_template": _refuse("loads a template from elsewhere when it is opened"),
    "office_external_object": _refuse("loads an object from elsewhere when it is opened"),
    "office_activex": _refuse("holds ActiveX controls"),
    "office_ole_package": _refuse("holds a packaged file, which can be a program"),
    "office_dde": _refuse("runs a command by a DDE field"),
    "office_ole": _warn("holds an embedded object, which isn't read"),
    "office_external_link": _warn("loads a picture or other content from elsewhere when it is opened"),
    "office_file_link": _warn("links to a file on the reader's computer or network"),
    "rtf_object": _refuse("holds embedded objects, the usual way to attack by RTF"),
    "rtf_template": _refuse("loads a template from elsewhere when it is opened"),
    "rtf_dde": _refuse("runs a command by a DDE field"),
    "image_location": _warn("says where it was taken (GPS), which isn't kept"),
}


def judged(found: Iterable[Found], *, name: str) -> list[dict[str, Any]]:
    """The findings as the fields of `jobqueue.tasks.FileFinding`, each once.

    Raises:
        RejectedFile: the policy refuses one; names all of those with the file's ``name``.

    >>> judged([Found(code="pdf_javascript")], name="deed.pdf")
    [{'code': 'pdf_javascript', 'severity': 'warn', 'detail': 'It holds JavaScript.'}]
    >>> judged([Found(code="pdf_launch", detail="cmd.exe")], name="deed.pdf")
    Traceback (most recent call last):
        ...
    jobqueue.errors.RejectedFile: deed.pdf starts a program when it is opened or clicked (cmd.exe) [pdf_launch]: print \
it to PDF and upload that
    """
    every = sorted(set(found))
    if refused := [one for one in every if POLICY[one.code].severity == "refuse"]:
        reasons = "; ".join(f"{_sentence(one)} [{one.code}]" for one in refused[:3])
        raise RejectedFile(f"{name} {reasons}: print it to PDF and upload that")
    return [
        {"code": one.code, "severity": POLICY[one.code].severity, "detail": f"It {_sentence(one)}."}
        for one in every[:MAX_FINDINGS]
    ]


def _sentence(found: Found) -> str:
    detail = clean_line(found.detail, max_chars=_MAX_DETAIL_CHARS)
    return POLICY[found.code].title + (f" ({detail})" if detail else "")
