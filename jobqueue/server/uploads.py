"""One uploaded file: from the socket straight into blob storage, a chunk at a time."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import BadHttpMessage
from pydantic import SecretStr

from jobqueue.errors import InvalidInput, JobqueueError, LimitExceeded
from jobqueue.ports import Blob
from jobqueue.server.context import Deps, deps

MAX_NAME_CHARS: Final = 255
_CHUNK_BYTES: Final = 1 << 16
_ENVELOPE_BYTES: Final = 1 << 16  # boundaries and part headers around the largest file
MAX_PASSWORD_CHARS: Final = 127  # as much as a PDF's password may have
_HOW_TO: Final = (
    "send multipart/form-data with the file in one field named 'file', after it or before it its password, if it has "
    "one, in a field named 'password'"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A stored upload, its cleaned name, and the password that came with it."""

    name: str
    blob: Blob
    password: SecretStr | None = None


def clean_name(name: str) -> str:
    r"""What a file may be called here: a base name without control or invisible characters, 1–255 long.

    Characters of Unicode's category C go: controls, but also the overrides that make ``exe.pdf`` of ``fdp.exe``.
    Too long a name loses its middle, never its extension.

    >>> clean_name("C:\\deeds\\..\\Kaufvertrag\x00 2024.pdf"), clean_name("../../etc/passwd"), clean_name("/")
    ('Kaufvertrag 2024.pdf', 'passwd', 'unnamed')
    """
    base = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    visible = "".join(char for char in base if not unicodedata.category(char).startswith("C"))
    clean = " ".join(unicodedata.normalize("NFC", visible).split())
    if not clean.strip("."):
        return "unnamed"
    if len(clean) > MAX_NAME_CHARS:
        stem, dot, extension = clean.rpartition(".")
        tail = dot + extension if stem and len(extension) <= 10 else ""  # noqa: PLR2004  # longer is no extension
        clean = clean[: MAX_NAME_CHARS - len(tail)].rstrip() + tail
    return clean


async def receive(request: web.Request, key: str) -> Upload:
    """Store the request's one file under ``key``, and read its password. Memory doesn't depend on its size.

    When this raises, nothing is stored.

    Raises:
        InvalidInput: no file, more than one, or not multipart; says how to send it. Or a password that is too long, or
            that this server has no key to seal with. What the file holds, even nothing
            at all, is for ingest to judge: so every bad file ends in the same place, with its reason on record.
        LimitExceeded: it is longer than the upload limit.
        Unavailable: storage can't be reached.
        web.HTTPException: 400 when the multipart framing is broken, 408 when bytes fail to arrive.
    """
    using = deps(request)
    limit = using.limits.max_upload_bytes
    if not request.content_type.startswith("multipart/"):
        raise InvalidInput(f"this is not an upload: {_HOW_TO}")
    if (request.content_length or 0) > limit + _ENVELOPE_BYTES:
        raise _too_long(limit)  # known before a byte is read
    try:
        async with asyncio.timeout(using.limits.upload_timeout_s):
            return await _receive(request, using, key)
    except LimitExceeded:
        raise _too_long(limit) from None
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the upload took too long: send it over a faster connection") from None


async def _receive(request: web.Request, using: Deps, key: str) -> Upload:
    try:
        return await _take(await _read(request.multipart(), using.limits.idle_timeout_s), using, key)
    except BaseException:
        # No row names the object yet, so nobody else would ever remove it; its refusal is the news, not a failed sweep.
        with suppress(JobqueueError):
            await using.blobs.delete(key)
        raise


async def _take(reader: MultipartReader, using: Deps, key: str) -> Upload:
    stored: tuple[str, Blob] | None = None
    password: SecretStr | None = None
    async for part in _parts(reader, using.limits.idle_timeout_s):
        if part.name == "password" and part.filename is None and password is None:
            password = await _password(part, using)
        elif part.name == "file" and part.filename is not None and stored is None:
            chunks = _chunks(part, using.limits.idle_timeout_s)
            blob = await using.blobs.put(key, chunks, max_bytes=using.limits.max_upload_bytes)
            stored = clean_name(part.filename), blob
        else:
            raise InvalidInput(f"the upload holds more than one file, or another field: {_HOW_TO}")
    if stored is None:
        raise InvalidInput(f"the upload holds no file: {_HOW_TO}")
    return Upload(name=stored[0], blob=stored[1], password=password)


async def _parts(reader: MultipartReader, idle_s: float) -> AsyncIterator[BodyPartReader]:
    while (part := await _read(reader.next(), idle_s)) is not None:
        if not isinstance(part, BodyPartReader):
            raise InvalidInput(f"the upload holds no file: {_HOW_TO}")
        yield part


async def _password(part: BodyPartReader, using: Deps) -> SecretStr | None:
    """What is in the field; None where that is nothing, as of a form that was left empty."""
    raw = b""
    async for chunk in _chunks(part, using.limits.idle_timeout_s):
        raw += chunk
        if len(raw) > 4 * MAX_PASSWORD_CHARS:  # UTF-8
            break
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    if raw and not 0 < len(text) <= MAX_PASSWORD_CHARS:  # never with the password itself
        raise InvalidInput(f"the password is longer than {MAX_PASSWORD_CHARS} characters, or is not UTF-8: check it")
    if raw and using.seal is None:
        raise InvalidInput(
            "this server takes no passwords: its operator sets JOBQUEUE_SECRET_KEY, the same for the server and all "
            "workers; or remove the file's password and upload it again"
        )
    return SecretStr(text) if raw else None


async def _chunks(part: BodyPartReader, idle_s: float) -> AsyncIterator[bytes]:
    while chunk := await _read(part.read_chunk(_CHUNK_BYTES), idle_s):
        yield chunk


async def _read(reading: Coroutine[Any, Any, T], idle_s: float) -> T:
    try:
        async with asyncio.timeout(idle_s):  # wait_for may lose a cancellation before Python 3.12
            return await reading
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the upload stopped arriving: send it again") from None
    except (ValueError, RuntimeError, BadHttpMessage):  # how aiohttp's reader reports broken framing
        raise web.HTTPBadRequest(text=f"the multipart body is malformed or cut short: {_HOW_TO}") from None


def _too_long(limit: int) -> LimitExceeded:
    return LimitExceeded(f"the file is larger than {limit:,} bytes, the upload limit (JOBQUEUE_MAX_UPLOAD_BYTES)")
