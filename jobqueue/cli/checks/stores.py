"""Where rows and files are kept, and who looks at files for malware."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from handlers.system import FREE_UPLOADS, probe_storage
from jobqueue.app import document_scanner
from jobqueue.cli.checks import Finding, failed, ok, warning
from jobqueue.errors import Unavailable
from jobqueue.records.database import Database
from jobqueue.services.blobs import DirectoryStore, blob_store
from jobqueue.services.clamd import Clamd
from jobqueue.settings import Settings

_AT_START: Final = "isn't there yet; the first start makes it"


async def database(config: Settings) -> Sequence[Finding]:
    """Whether it answers, and has this program's schema."""
    records = Database(config.database_url)
    try:
        if records.file is not None and not records.file.exists():
            return [_would_be_made("database", records.file)]
        there, ours = await records.versions()
    finally:
        await records.close()
    if there == ours:
        return [ok("database", f"{records.name}, schema {ours}")]
    found = f"{records.name} has schema {there or 'none'}, and this program {ours}"
    return [warning("database", found, "the next start of a worker or the server migrates it; back it up before")]


async def storage(config: Settings) -> Sequence[Finding]:
    """Whether files can be stored, read and deleted."""
    blobs = blob_store(config.storage_url)
    try:
        if isinstance(blobs, DirectoryStore) and not blobs.root.exists():
            return [_would_be_made("storage", blobs.root)]
        await probe_storage(blobs)
    finally:
        await blobs.close()
    place = blobs.root if isinstance(blobs, DirectoryStore) else "it"
    return [ok("storage", f"{place} takes, gives and deletes files")]


async def disk(config: Settings) -> Sequence[Finding]:
    """Whether the data's and the temporary files' disks have room for some uploads."""
    places = {"data": config.data_dir, "temporary files": Path(tempfile.gettempdir())}
    return [await asyncio.to_thread(_room, f"disk of {what}", path, config) for what, path in places.items()]


def _room(name: str, path: Path, config: Settings) -> Finding:
    free = shutil.disk_usage(_standing(path)).free
    needed = FREE_UPLOADS * config.max_upload_bytes
    found = f"{free / 1e9:,.1f} GB are free at {path}"
    advice = f"keep {needed / 1e9:,.1f} GB free: {FREE_UPLOADS} of the largest uploads (JOBQUEUE_MAX_UPLOAD_BYTES)"
    if free < config.max_upload_bytes:
        return failed(name, found, advice)
    return warning(name, found, advice) if free < needed else ok(name, found)


async def virus_scan(config: Settings) -> Sequence[Finding]:
    """Whether clamd answers, sees files whole and knows recent malware; as bad as the settings need it."""
    name = "virus scan"
    if config.virus_scan == "off":
        return [ok(name, "off, as JOBQUEUE_VIRUS_SCAN says")]
    if not config.clamd_url:
        advice = "set JOBQUEUE_CLAMD_URL, or JOBQUEUE_VIRUS_SCAN=off if that is meant to be so"
        return [warning(name, "there is none: files are taken unchecked", advice)]
    try:
        version = await Clamd(config.clamd_url).version()
        await document_scanner(config).check()
    except Unavailable as exc:
        said = failed if config.virus_scan == "required" else warning
        return [said(name, str(exc))]
    age = f", {(datetime.now(UTC) - version.released).days} days old" if version.released else ""
    return [ok(name, f"{version.engine}, signatures {version.signatures or 'of its own'}{age}")]


def _would_be_made(name: str, path: Path) -> Finding:
    parent = _standing(path)
    if os.access(parent, os.W_OK | os.X_OK):
        return ok(name, f"{path} {_AT_START}")
    return failed(name, f"{path} isn't there, and can't be made in {parent}", "give this user the right to write there")


def _standing(path: Path) -> Path:
    """The path itself, or the nearest directory above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())
