"""What is in a PDF besides its pages: active content, forms, signatures, metadata. By its objects; nothing is run.

Every object of the file is looked at, also those that nothing refers to: readers differ in what they reach.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pikepdf

from handlers.documents.cleaning import clean_line, iso_date
from handlers.documents.policy import Found
from jobqueue.errors import LimitExceeded

MAX_OBJECTS: Final = 500_000
MAX_DEPTH: Final = 60
MAX_PARTS: Final = 200_000
"""Of one array or dictionary; checked before it is taken apart, which costs a hundred times its bytes."""
MAX_FIELDS: Final = 500
MAX_XMP_BYTES: Final = 1_000_000
_PROGRAM: Final = re.compile(
    r"\.(?:exe|dll|com|scr|bat|cmd|ps1|vbs?|jse?|wsf|hta|msi|jar|lnk|iso|img|apk|app|sh|docm|xlsm|pptm)$", re.IGNORECASE
)
_NETWORK: Final = re.compile(r"\\\\|//|smb:|file://[^/]", re.IGNORECASE)
_MEDIA: Final = frozenset(("/RichMedia", "/3D", "/Movie", "/Sound"))
_XMP_FIELDS: Final = re.compile(
    rb"<(?:[\w-]+:)?(CreatorTool|part|conformance|DocumentID)>([^<]{1,300})</"
    rb"|\bpdfaid:(part|conformance)=[\"']([^\"']{1,20})"
)


@dataclass(slots=True)
class _Seen:
    """What the walk over all objects has met so far."""

    found: set[Found] = field(default_factory=set)
    fonts: set[str] = field(default_factory=set)
    objects: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfFacts:
    """What was found; every list and map is bounded."""

    found: list[Found]
    metadata: dict[str, str]
    fields: dict[str, str]
    signatures: list[dict[str, Any]]


def facts(pdf: pikepdf.Pdf, *, size_bytes: int) -> PdfFacts:
    """Look through an open PDF.

    Raises:
        LimitExceeded: it has more than `MAX_OBJECTS` objects, or is nested deeper than `MAX_DEPTH`.
    """
    seen = _Seen()
    for number, thing in enumerate(pdf.objects):
        if number > MAX_OBJECTS:
            raise LimitExceeded(f"it holds more than the {MAX_OBJECTS:,} objects allowed: print it to PDF again")
        _look(thing, seen, 0)
    root = pdf.Root
    _look_at_root(root, seen)
    fields, signatures = _form(root, size_bytes)
    metadata = _xmp(root)
    if seen.fonts:
        metadata["fonts"] = str(len(seen.fonts))
    if language := _text(root.get("/Lang")):
        metadata["language"] = language
    return PdfFacts(found=sorted(seen.found), metadata=metadata, fields=fields, signatures=signatures)


def _look(thing: Any, seen: _Seen, depth: int) -> None:
    """One object, and what is directly in it; what it refers to is met on its own."""
    seen.objects += 1
    if depth > MAX_DEPTH or seen.objects > 4 * MAX_OBJECTS:
        raise LimitExceeded("its objects are nested too deep, or too many: print it to PDF again")
    if isinstance(thing, pikepdf.Array | pikepdf.Dictionary) and len(thing) > MAX_PARTS:
        raise LimitExceeded(f"it has an object of more than the {MAX_PARTS:,} parts allowed: print it to PDF again")
    if isinstance(thing, pikepdf.Array):
        parts: list[Any] = list(thing.as_list())
    elif isinstance(thing, pikepdf.Dictionary | pikepdf.Stream):
        given = thing.as_dict() if isinstance(thing, pikepdf.Dictionary) else thing.stream_dict.as_dict()
        seen.found.update(_judge(given, seen))
        parts = list(given.values())
    else:
        return
    for part in parts:
        if isinstance(part, pikepdf.Array | pikepdf.Dictionary) and not part.is_indirect:
            _look(part, seen, depth + 1)


def _judge(given: Any, seen: _Seen) -> Iterator[Found]:
    action, subtype = _name(given, "/S"), _name(given, "/Subtype")
    if action == "/JavaScript" or "/JS" in given:
        yield Found(code="pdf_javascript")
    if action == "/Launch":
        yield Found(code="pdf_launch", detail=_file(given, "/F") or _file(given, "/Win"))
    elif action == "/URI":
        address = _text(given.get("/URI"))
        if _NETWORK.match(address) and not address.startswith("//"):
            yield Found(code="pdf_network_file", detail=address)
        elif address.lower().startswith("file:"):
            yield Found(code="pdf_file_link", detail=address)
    elif action in {"/GoToR", "/GoToE", "/Thread", "/ImportData"}:
        if target := _file(given, "/F"):
            yield Found(code="pdf_network_file" if _NETWORK.match(target) else "pdf_file_link", detail=target)
    elif action == "/SubmitForm":
        yield Found(code="pdf_submit", detail=_file(given, "/F"))
    elif action in {"/Rendition", "/Movie", "/Sound"}:
        yield Found(code="pdf_rich_media")
    if subtype in _MEDIA:
        yield Found(code="pdf_rich_media")
    if "/EF" in given:
        file_name = _text(given.get("/UF")) or _text(given.get("/F"))
        program = _PROGRAM.search(file_name.strip())
        yield Found(code="pdf_embedded_program" if program else "pdf_embedded_file", detail=file_name)
    if "/XFA" in given:
        yield Found(code="pdf_xfa")
    if _name(given, "/Type") == "/Font" and "/BaseFont" in given:
        seen.fonts.add(str(given["/BaseFont"]))


def _look_at_root(root: Any, seen: _Seen) -> None:
    opening = root.get("/OpenAction")
    if isinstance(opening, pikepdf.Dictionary) and _name(opening, "/S") not in {"/GoTo", ""}:
        seen.found.add(Found(code="pdf_open_action", detail=_name(opening, "/S").lstrip("/")))
    if "/AA" in root:
        seen.found.add(Found(code="pdf_open_action"))
    if "/NeedsRendering" in root and root["/NeedsRendering"] is True and Found(code="pdf_xfa") in seen.found:
        seen.found.add(Found(code="pdf_dynamic_xfa"))


def _form(root: Any, size_bytes: int) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The fields of the form with their values, and the signatures, each once though the tree may run in circles."""
    form = root.get("/AcroForm")
    fields: dict[str, str] = {}
    signatures: list[dict[str, Any]] = []
    start = form.get("/Fields") if isinstance(form, pikepdf.Dictionary) else None
    waiting = [(part, "", "") for part in _kids(start)]
    visited: set[tuple[int, int]] = set()
    while waiting and len(visited) < 4 * MAX_FIELDS and len(fields) + len(signatures) < MAX_FIELDS:
        part, prefix, kind = waiting.pop()
        if not isinstance(part, pikepdf.Dictionary) or part.objgen in visited:
            continue
        visited.add(part.objgen)
        own = _text(part.get("/T"))
        name = ".".join(filter(None, (prefix, own)))[:200]
        kind = _name(part, "/FT") or kind
        waiting += [
            (kid, name, kind) for kid in reversed(_kids(part.get("/Kids"))) if isinstance(kid, pikepdf.Dictionary)
        ]
        value = part.get("/V")
        if kind == "/Sig" and isinstance(value, pikepdf.Dictionary):
            signatures.append(_signature(value, name, size_bytes))
        elif own and kind != "/Sig":
            fields[name] = _value(value)
    return fields, signatures


def _signature(value: Any, name: str, size_bytes: int) -> dict[str, Any]:
    try:
        covered = [int(part) for part in value.get("/ByteRange", [])][:4]
    except (TypeError, ValueError):
        covered = []
    whole = len(covered) == 4 and covered[0] == 0 and covered[2] + covered[3] == size_bytes  # noqa: PLR2004  # two ranges
    return {
        "field": name,
        "signer": _text(value.get("/Name")),
        "reason": _text(value.get("/Reason")),
        "signed_at": iso_date(_text(value.get("/M"))),
        "format": _name(value, "/SubFilter").lstrip("/"),
        "covers_whole_file": whole,
    }


def _xmp(root: Any) -> dict[str, str]:
    """A few fields of the XMP packet, read without an XML parser: what it declares can't hurt that way."""
    stream = root.get("/Metadata")
    if not isinstance(stream, pikepdf.Stream):
        return {}
    packet = stream.read_raw_bytes()
    if stream.stream_dict.get("/Filter") is not None:
        try:
            packet = zlib.decompressobj().decompress(packet, MAX_XMP_BYTES)
        except zlib.error:
            return {}
    found: dict[str, str] = {}
    for match in _XMP_FIELDS.finditer(packet[:MAX_XMP_BYTES]):
        key, value = (match[1] or match[3]).decode(), clean_line((match[2] or match[4]).decode("utf-8", "replace"))
        found.setdefault(key, value)
    named = {"xmp_tool": found.get("CreatorTool", ""), "xmp_document_id": found.get("DocumentID", "")}
    if "part" in found:
        named["pdf_a"] = found["part"] + found.get("conformance", "").lower()
    return {key: value for key, value in named.items() if value}


def _kids(value: Any) -> list[Any]:
    return list(value.as_list())[: 4 * MAX_FIELDS] if isinstance(value, pikepdf.Array) else []


def _file(given: Any, key: str) -> str:
    """The name in a file specification, which is a string, or a dictionary with one."""
    value = given.get(key)
    if isinstance(value, pikepdf.Dictionary):
        return _text(value.get("/UF")) or _text(value.get("/F"))
    return _text(value)


def _value(value: Any) -> str:
    if isinstance(value, pikepdf.Array):
        return ", ".join(_text(part) for part in value.as_list()[:20])
    return _text(value).lstrip("/") if isinstance(value, pikepdf.Name) else _text(value)


def _name(given: Any, key: str) -> str:
    value = given.get(key)
    return str(value) if isinstance(value, pikepdf.Name) else ""


def _text(value: Any) -> str:
    if not isinstance(value, pikepdf.String | pikepdf.Name):
        return ""
    try:
        return clean_line(str(value))
    except ValueError:  # said to be UTF-16, and isn't
        return clean_line(bytes(value).decode("latin-1"))
