"""The text of Word documents: paragraphs and table rows in order, page breaks as form feeds.

The parts are read as a stream. Deleted text (tracked changes), field commands and the fallbacks of drawings are left
out. Numbers that Word makes itself (of lists and headings) are not in the file, and so not in the text.
"""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handlers.documents.archives import open_archive, read_member
from jobqueue.errors import LimitExceeded, RejectedFile

if TYPE_CHECKING:
    from lxml.etree import _Element

MAX_PART_BYTES: Final = 50_000_000
_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STRICT: Final = "{http://purl.oclc.org/ooxml/wordprocessingml/main}"
_FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_ORDER: Final = tuple(
    re.compile(rf"word/{part}\d*\.xml") for part in ("header", "document", "footnotes", "endnotes", "footer")
)
_CHARACTERS: Final = {"tab": "\t", "cr": "\n", "noBreakHyphen": "-", "lastRenderedPageBreak": "\f"}


def text_of(path: Path, *, max_characters: int) -> str:
    """The document's text: headers first, then the body, notes and footers.

    Raises:
        RejectedFile: damaged, or nested too deep.
        LimitExceeded: too much text, or too large a part.
    """
    with open_archive(path, name="it") as archive:
        texts = [_part_text(read_part(archive, info), max_characters) for info in _text_parts(archive)]
    text = "\n".join(dict.fromkeys(text for text in texts if text.strip()))  # one header for all sections
    if len(text) > max_characters:
        raise _too_long(max_characters)
    return text


def read_part(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A part of the package, of at most `MAX_PART_BYTES`."""
    return read_member(archive, info, name="it", max_bytes=MAX_PART_BYTES)


def events(data: bytes, *, start: bool = False) -> Iterator[tuple[str, _Element]]:
    """The elements of an XML part as they end (and start), nothing of it resolved from elsewhere.

    Raises:
        RejectedFile: malformed, nested too deep, or with a document type, which no Office program writes.
    """
    from lxml import etree

    if b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
        raise RejectedFile("it has XML with entities of its own, as attacks do: save it again and upload that")
    kinds = ("start", "end") if start else ("end",)
    try:
        yield from etree.iterparse(
            io.BytesIO(data), events=kinds, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
        )
    except etree.XMLSyntaxError as exc:
        raise RejectedFile(f"its XML is damaged or nested too deep ({str(exc)[:120]}): save it again") from exc


def _text_parts(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    found = []
    for order, pattern in enumerate(_ORDER):
        found += [(order, info.filename, info) for info in archive.infolist() if pattern.fullmatch(info.filename)]
    return [info for _, _, info in sorted(found, key=lambda part: part[:2])]


def _part_text(data: bytes, max_characters: int) -> str:
    walker = _Walker(max_characters)
    try:
        for event, element in events(data, start=True):
            tag = str(element.tag).replace(_STRICT, _W)
            walker.start(tag, element) if event == "start" else walker.end(tag, element)
    except IndexError as exc:  # a cell outside of a row
        raise RejectedFile("its tables are damaged: save it again and upload that") from exc
    return "\n".join(walker.sinks[0])


class _Walker:
    """What is open: paragraphs (a text box has its own inside of one), table rows, and where finished text goes."""

    def __init__(self, max_characters: int) -> None:
        self.sinks: list[list[str]] = [[]]
        self._runs: list[list[str]] = []
        self._rows: list[list[str]] = []
        self._fallbacks = 0
        self._max_characters = max_characters
        self._room = max_characters

    def start(self, tag: str, element: _Element) -> None:
        match tag.removeprefix(_W):
            case "p":
                self._runs.append([])
            case "tr":
                self._rows.append([])
            case "tc":
                self.sinks.append([])
            case "pageBreakBefore" if element.get(f"{_W}val", "1") not in {"0", "false", "off"}:
                self._add("\f")
            case _ if tag == _FALLBACK:
                self._fallbacks += 1

    def end(self, tag: str, element: _Element) -> None:
        match tag.removeprefix(_W):
            case "t":
                self._add(element.text or "")
            case "br":
                self._add("\f" if element.get(f"{_W}type") == "page" else "\n")
            case "p":
                self.sinks[-1].append("".join(self._runs.pop()))
            case "tc":
                text = " ".join(part.strip() for part in self.sinks.pop() if part.strip())
                self._rows[-1].append(re.sub(r"[\f\n]+", " ", text))
            case "tr":
                self.sinks[-1].append(" | ".join(self._rows.pop()))
            case name if name in _CHARACTERS and _in_run(element):
                self._add(_CHARACTERS[name])
            case _ if tag == _FALLBACK:
                self._fallbacks -= 1
        if tag.removeprefix(_W) in {"p", "tr"}:
            _forget(element)

    def _add(self, text: str) -> None:
        if not self._fallbacks and self._runs:
            self._runs[-1].append(text)
            self._room -= len(text)
            if self._room < 0:
                raise _too_long(self._max_characters)


def _too_long(max_characters: int) -> LimitExceeded:
    return LimitExceeded(f"it holds more than the {max_characters:,} characters allowed for text: split it")


def _in_run(element: _Element) -> bool:
    """Not so for the tab stops among a paragraph's properties."""
    parent = element.getparent()
    return parent is not None and str(parent.tag).endswith("}r")


def _forget(element: Any) -> None:
    """Free an element that has been read, so that memory doesn't grow with the document."""
    element.clear(keep_tail=True)
