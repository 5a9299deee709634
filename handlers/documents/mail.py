"""Mails (EML and MSG): their text, and what is attached to them."""

from __future__ import annotations

import email
import email.policy
import re
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Final

from handlers.documents import lzfu, rtf
from handlers.documents.cfb import CompoundFile
from handlers.documents.cleaning import clean_line
from jobqueue.errors import LimitExceeded, RejectedFile

MAX_PARTS: Final = 500
MAX_DEPTH: Final = 10
MAX_CHARACTERS: Final = 2_000_000
_FIELDS: Final = ("From", "To", "Cc", "Date", "Subject")
# Two header fields at the start, one of them such as only mail programs write.
_HEADER: Final = re.compile(rb"(?:From [^\n]*\n)?[A-Za-z][A-Za-z0-9-]{0,60}:[^\n]*\r?\n(?:[ \t][^\n]*\n)*[A-Za-z \t]")
_MAIL_FIELD: Final = re.compile(
    rb"^(?:Received|Message-ID|MIME-Version|Return-Path|Delivered-To):", re.MULTILINE | re.IGNORECASE
)
_ENVELOPE: Final = re.compile(rb"^(?:From|To|Subject|Date):", re.MULTILINE | re.IGNORECASE)
_MAX_FIELD_CHARS: Final = 4_000
_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)
_SUBMIT_TIME: Final = 0x00390040


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that came with a mail; ``name`` as the sender gave it, on one line."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail as people see it. ``fields`` are From, To, Cc, Date and Subject, as far as it has them."""

    fields: dict[str, str]
    body: str
    attachments: list[Attachment] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The fields, the body, and the names of the attachments."""
        head = [f"{name}: {value}" for name, value in self.fields.items()]
        files = [f"Attachment: {attachment.name}" for attachment in self.attachments]
        return "\n".join([*head, "", self.body.strip(), *([""] if files else []), *files])


def is_eml(head: bytes) -> bool:
    r"""Whether a file that begins so is an Internet message (RFC 5322) rather than a text that looks like a memo.

    >>> is_eml(b"From: a@b.example\nTo: c\nMIME-Version: 1.0\n\nHi"), is_eml(b"From: me\nTo: you\nSubject: rent\n\nHi")
    (True, False)
    """
    fields = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    return bool(_HEADER.match(head) and _MAIL_FIELD.search(fields) and _ENVELOPE.search(fields))


def read_eml(data: bytes) -> Mail:
    """An Internet message.

    Raises:
        RejectedFile: nested too deep, or malformed beyond reading.
        LimitExceeded: too many parts, or too much text.
    """
    try:
        return _parsed(data)
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError) as exc:
        # The parser promises never to fail, and its readings of malformed headers do.
        raise RejectedFile("it is damaged and can't be read as a mail") from exc


def _parsed(data: bytes) -> Mail:
    message = email.message_from_bytes(data, policy=email.policy.default)
    plain, html, attachments = [], [], []
    for part in _leaves(message, 0):
        kind = part.get_content_type()
        if part.is_attachment() or part.get_filename() or not kind.startswith("text/"):
            attachments.append(Attachment(name=_name(part), data=_payload(part)))
        elif kind == "text/html":
            html.append(html_text(_decoded(part)))
        else:
            plain.append(_decoded(part))
    body = "\n\n".join(plain if any(text.strip() for text in plain) else html)
    return Mail(fields=_header_fields(message), body=_bounded(body), attachments=attachments)


def read_msg(data: bytes) -> Mail:
    """A message as Outlook saves it (MS-OXMSG).

    Raises:
        RejectedFile: damaged.
        LimitExceeded: too much of anything.
    """
    file = CompoundFile(data)
    sender = " ".join(filter(None, (_property(file, "", "0C1A"), _angled(_property(file, "", "0C1F")))))
    given = {
        "From": sender,
        "To": _property(file, "", "0E04"),
        "Cc": _property(file, "", "0E03"),
        "Date": _submitted(file.read("__properties_version1.0")),
        "Subject": _property(file, "", "0037"),
    }
    body = _property(file, "", "1000")
    if not body.strip():
        body = html_text(file.read("__substg1.0_10130102").decode("utf-8", "replace"))
    if not body.strip():
        packed = lzfu.unpacked(file.read("__substg1.0_10090102"))
        body = rtf.text_of(packed, max_characters=MAX_CHARACTERS) if packed.startswith(rtf.MAGIC) else ""
    folders = sorted(path for path in file.entries if re.fullmatch(r"__attach_version1\.0_#[0-9A-Fa-f]{8}", path))
    if len(folders) > MAX_PARTS:
        raise LimitExceeded(f"it has more than the {MAX_PARTS} attachments allowed")
    attachments = [
        Attachment(
            name=clean_line(
                _property(file, folder + "/", "3707") or _property(file, folder + "/", "3704"), max_chars=120
            )
            or "attachment",
            data=file.read(f"{folder}/__substg1.0_37010102"),
        )
        for folder in folders
    ]
    fields = {name: clean_line(value) for name, value in given.items() if value.strip("\0 ")}
    return Mail(fields=fields, body=_bounded(body), attachments=attachments)


def html_text(source: str) -> str:
    r"""What a browser would show of a page, roughly: text, lines at blocks, no scripts.

    >>> html_text("<p>Buyer &amp; Seller<br>sign<script>x()</script></p><td>1</td><td>2</td>")
    'Buyer & Seller\nsign\n1 2'
    """
    reader = _HtmlText()
    reader.feed(source[:MAX_CHARACTERS])
    lines = ("".join(reader.out)).splitlines()
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


class _HtmlText(HTMLParser):
    _BLOCKS: Final = frozenset(("p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol"))
    _SILENT: Final = frozenset(("script", "style", "head", "title", "template"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # the parser's signature
        if tag in self._SILENT:
            self._silent.append(tag)
        elif tag in self._BLOCKS:
            self.out.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._silent and tag == self._silent[-1]:
            self._silent.pop()
        elif tag in self._BLOCKS:
            self.out.append("\n")
        elif tag in {"td", "th"}:
            self.out.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.out.append(data.replace("\n", " "))


def _leaves(message: EmailMessage, depth: int) -> list[EmailMessage]:
    """The parts that hold something, in order; a message inside of one is a leaf."""
    if depth > MAX_DEPTH:
        raise RejectedFile(f"its parts are nested more than {MAX_DEPTH} deep")
    if not message.is_multipart() or (depth and message.get_content_maintype() == "message"):
        return [message]
    found: list[EmailMessage] = []
    for part in message.iter_parts():
        found += _leaves(part, depth + 1)  # type: ignore[arg-type]  # the policy makes every part an EmailMessage
        if len(found) > MAX_PARTS:
            raise LimitExceeded(f"it has more than the {MAX_PARTS} parts allowed")
    return found


def _header_fields(message: EmailMessage) -> dict[str, str]:
    """The fields that people see, cut before they are decoded: parsing an address list takes its length squared."""
    raw = {name.title(): str(value)[:_MAX_FIELD_CHARS] for name, value in reversed(list(message.raw_items()))}
    found = {name: clean_line(str(make_header(decode_header(raw[name])))) for name in _FIELDS if name in raw}
    return {name: value for name, value in found.items() if value}


def _name(part: EmailMessage) -> str:
    given = clean_line(part.get_filename() or "", max_chars=120)
    if given:
        return given
    return "message.eml" if part.get_content_maintype() == "message" else "attachment"


def _payload(part: EmailMessage) -> bytes:
    if part.is_multipart():  # a message that was forwarded whole
        inner = part.get_payload()
        return inner[0].as_bytes() if isinstance(inner, list) and inner else b""  # type: ignore[union-attr]  # as parsed
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _decoded(part: EmailMessage) -> str:
    data = _payload(part)
    try:
        return data.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):  # no such charset, or no name of one
        return data.decode("cp1252", "replace")


def _property(file: CompoundFile, folder: str, tag: str) -> str:
    if data := file.read(f"{folder}__substg1.0_{tag}001F"):
        return data.decode("utf-16-le", "replace")
    return file.read(f"{folder}__substg1.0_{tag}001E").decode("cp1252", "replace")


def _angled(address: str) -> str:
    return f"<{address}>" if "@" in address else ""


def _submitted(properties: bytes) -> str:
    for offset in range(32, len(properties) - 15, 16):
        tag, _, ticks = struct.unpack_from("<IIQ", properties, offset)
        if tag == _SUBMIT_TIME:
            try:
                return (_EPOCH + timedelta(microseconds=ticks // 10)).isoformat(timespec="seconds")
            except OverflowError:
                return ""
    return ""


def _bounded(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise LimitExceeded(f"it holds more than the {MAX_CHARACTERS:,} characters allowed for text")
    return text
