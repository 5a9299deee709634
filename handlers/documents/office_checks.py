"""Active content in Word documents, by the structure of the package: its parts, their relations, its fields."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from handlers.documents.archives import open_archive, read_member
from handlers.documents.cfb import CompoundFile
from handlers.documents.cleaning import clean_line, iso_date
from handlers.documents.policy import Found
from handlers.documents.word import events, read_part
from jobqueue.errors import LimitExceeded, RejectedFile

_MAX_RELATIONS_BYTES: Final = 5_000_000
_MACROS: Final = re.compile(r"(?:^|/)(?:vbaProject\.bin|vbaData\.xml|macros/)", re.IGNORECASE)
_ACTIVEX: Final = re.compile(r"(?:^|/)activeX/", re.IGNORECASE)
_EMBEDDED: Final = re.compile(r"(?:^|/)embeddings/", re.IGNORECASE)
_PACKAGED: Final = "\x01Ole10Native"
_FIELDS_IN: Final = re.compile(
    r"word/(?:document|header\d*|footer\d*|footnotes|endnotes|comments|glossary/document)\.xml"
)
_DDE: Final = re.compile(r"\bDDE(?:AUTO)?\b", re.IGNORECASE)
_LOCAL: Final = re.compile(r"file:|\\\\|//|[A-Za-z]:[\\/]", re.IGNORECASE)
_RELATIONS: Final = {
    "attachedTemplate": "office_remote_template",
    "oleObject": "office_external_object",
    "subDocument": "office_external_object",
    "frame": "office_external_object",
    "package": "office_external_object",
    "control": "office_activex",
}
_PROPERTIES: Final = {
    "title": "title", "subject": "subject", "creator": "author", "keywords": "keywords", "language": "language",
    "lastModifiedBy": "last_modified_by", "created": "created", "modified": "modified", "revision": "revision",
}  # fmt: skip


def active_content(path: Path, *, name: str) -> list[Found]:
    """Whatever a document would do beyond being read; `RejectedFile` where it is damaged."""
    with open_archive(path, name=name) as archive:
        found: list[Found] = []
        for info in archive.infolist():
            found += _by_name(info.filename)
            if _EMBEDDED.search(info.filename) and _is_package(read_part(archive, info)):
                found.append(Found(code="office_ole_package", detail=info.filename))
            elif info.filename.endswith(".rels"):
                found += _relations(archive, info, name)
            elif info.filename == "[Content_Types].xml" and b"macroEnabled" in read_part(archive, info):
                found.append(Found(code="office_macros"))
            elif _FIELDS_IN.fullmatch(info.filename):
                found += _fields_and_objects(read_part(archive, info))
    return found


def properties(path: Path, *, name: str) -> dict[str, str]:
    """The document's core properties, as far as it has them; dates in ISO 8601."""
    with open_archive(path, name=name) as archive:
        if "docProps/core.xml" not in archive.namelist():
            return {}
        info = archive.getinfo("docProps/core.xml")
        found: dict[str, str] = {}
        for _, element in events(read_member(archive, info, name=name, max_bytes=_MAX_RELATIONS_BYTES)):
            key = _PROPERTIES.get(_local_name(element.tag))
            value = clean_line(element.text or "")
            if key and value:
                found[key] = iso_date(value) if key in {"created", "modified"} else value
        return found


def _by_name(member: str) -> Iterator[Found]:
    if _MACROS.search(member):
        yield Found(code="office_macros", detail=member)
    elif _ACTIVEX.search(member):
        yield Found(code="office_activex")
    elif _EMBEDDED.search(member) and not member.endswith("/"):
        yield Found(code="office_ole", detail=member)


def _is_package(data: bytes) -> bool:
    """Whether an embedded object is a file of any kind, wrapped by Windows' packager."""
    try:
        return any(path.endswith(_PACKAGED) for path in CompoundFile(data).entries)
    except (RejectedFile, LimitExceeded):
        return False  # an Office document, or broken: it stays an object that isn't read


def _relations(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[Found]:
    for _, element in events(read_member(archive, info, name=name, max_bytes=_MAX_RELATIONS_BYTES)):
        if _local_name(element.tag) != "Relationship" or element.get("TargetMode", "").lower() != "external":
            continue
        kind, target = element.get("Type", "").rpartition("/")[2], element.get("Target", "").strip()
        if kind == "hyperlink":
            if _LOCAL.match(target):
                yield Found(code="office_file_link", detail=target)
        else:
            yield Found(code=_RELATIONS.get(kind, "office_external_link"), detail=target)


def _fields_and_objects(data: bytes) -> Iterator[Found]:
    """DDE fields, whose command may be cut into several runs, and packaged objects."""
    command: list[str] = []
    for _, element in events(data):
        match _local_name(element.tag):
            case "instrText":
                command.append(element.text or "")
            case "fldSimple":
                command += [next((v for k, v in element.attrib.items() if str(k).endswith("}instr")), ""), " "]  # type: ignore[list-item]  # strings
            case "OLEObject" if element.get("ProgID", "").lower() in {"package", "htmlfile", "packager"}:
                yield Found(code="office_ole_package", detail=element.get("ProgID", ""))
    if _DDE.search("".join(command)):
        yield Found(code="office_dde")


def _local_name(tag: object) -> str:
    return str(tag).rpartition("}")[2]
