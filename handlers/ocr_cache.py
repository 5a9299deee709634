"""The text of pages, kept by the bytes that it was read from, so that nothing is recognised twice.

A retry, a replay, or another upload of the same file finds it in the tenant's own storage; no tenant sees another's.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from handlers.context import Ctx, progress, services
from handlers.documents.ocr_program import language_data
from jobqueue.errors import LimitExceeded, NotFound, Unavailable
from jobqueue.ports import BlobStore, FileRecord, Services
from jobqueue.tasks import DocumentInfo, DocumentText, PageSource, PageText

KIND: Final = "cache"
READING: Final = 1
"""To be raised with every change of `handlers.documents` after which a page is read differently."""
MAX_TEXT_BYTES: Final = 200_000_000
_VERSION_S: Final = 20.0


async def read_once(
    ctx: Ctx,
    file: FileRecord,
    info: DocumentInfo,
    *,
    path: Path,
    numbers: range,
    read: Callable[[], Awaitable[list[PageText]]],
) -> tuple[list[PageText], bool]:
    """These pages of a file as they were read before with the same settings and engines, or as ``read`` reads them now.

    What is read now is kept, unless a page was unreadable: whoever tries again wants it tried again.

    Args:
        ctx: the job's context.
        file: whose pages they are.
        info: what is known of the file.
        path: the bytes that are read, on this machine.
        numbers: of the pages.
        read: reads them; what it raises comes out.

    Returns:
        The pages, and whether they had been read before.
    """
    world = services(ctx)
    if not world.ocr_cache_days:
        return await read(), False
    key = await _key(world, file, info, path, numbers)
    kept = await _kept(world.blobs, key)
    if kept is not None and [page.number for page in kept] == list(numbers):
        await progress(ctx, len(kept), len(kept), f"{len(kept)} pages, as read before")
        return kept, True
    pages = await read()
    if all(page.source is not PageSource.UNREADABLE for page in pages):
        with suppress(Unavailable):  # the pages are read: they are worth more in the contract than thrown away
            await world.blobs.put_bytes(key, DocumentText(pages=pages).model_dump_json().encode())
    return pages, False


async def _key(world: Services, file: FileRecord, info: DocumentInfo, path: Path, numbers: range) -> str:
    # A copy made for reading is other bytes than the upload, and its hash stands nowhere.
    sha256 = await asyncio.to_thread(_sha256, path) if info.reading_key else info.sha256
    engines = await asyncio.to_thread(reading_engines, world.text_engine, world.ocr_engine)
    shape = PageText.model_json_schema()
    asked = [READING, shape, sha256, info.mime_type, world.ocr_languages, engines, numbers.start, numbers.stop]
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return f"{file.tenant_id}/{KIND}/{name}.json"


async def _kept(blobs: BlobStore, key: str) -> list[PageText] | None:
    try:
        return DocumentText.model_validate_json(await blobs.read(key, max_bytes=MAX_TEXT_BYTES)).pages
    except (NotFound, LimitExceeded, ValueError):  # damaged: read anew, and replaced
        return None


# ── what reads, blocking ─────────────────────────────────────────────────────────────────────────────────────────


def reading_engines(text_engine: str, ocr_engine: str) -> dict[str, Any]:
    """Names and versions of all that has a part in what is read, the installed language data included.

    An engine that isn't installed has no version: whoever needs it says so.
    """
    library = ocr_engine == "tesserocr" or (ocr_engine == "auto" and importlib.util.find_spec("tesserocr") is not None)
    packages = [text_engine, "pillow", *(["tesserocr"] if library else [])]
    found: dict[str, Any] = {name: _package_version(name) for name in packages}
    program = shutil.which("tesseract")
    if program is not None:
        found["languages"] = _languages()
        if not library:
            found["tesseract"] = _program_version(program, Path(program).stat().st_mtime_ns)
    return found


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _languages() -> list[list[Any]]:
    # By size: there are several models of each language, alike by name.
    with suppress(OSError, Unavailable, subprocess.TimeoutExpired):
        return sorted([data.name, data.stat().st_size] for data in language_data().folder.glob("*.traineddata"))
    return []


@functools.lru_cache(maxsize=4)
def _program_version(program: str, _written_ns: int) -> str:
    done = subprocess.run(  # noqa: S603  # no input of anyone's
        [program, "--version"], check=False, capture_output=True, text=True, errors="replace", timeout=_VERSION_S
    )
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
