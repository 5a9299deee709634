"""Virus scanning by a real clamd: what it finds, what it passes over in silence, and what becomes of the file."""

from __future__ import annotations

import asyncio
import gzip
import random
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue import settings
from jobqueue.errors import ConfigError, Unavailable
from jobqueue.ports import VirusScanner
from jobqueue.server.app import ServerLimits, build_app
from jobqueue.server.auth import Access
from jobqueue.services.clamd import Clamd
from jobqueue.services.virusscan import Mode, virus_scanner
from tests.acceptance.command_support import free_port
from tests.clamd_support import EICAR, MAX_BYTES, running_clamd, word_with, zipped
from tests.unit import hostile_files
from tests.unit.documents_support import InProcessSandbox
from tests.unit.server_support import MemoryBlobs, MemoryQueue, MemoryRecords

AWAY = "unix:///nowhere/clamd.sock"
TOO_LONG = bytes(2 * MAX_BYTES) + EICAR
"""Infected where clamd no longer looks."""


@pytest.fixture(scope="module")
def clamd() -> Iterator[str]:
    with running_clamd() as url:
        yield url


def scanner(url: str, *, mode: Mode = "required", max_bytes: int = MAX_BYTES, max_age_days: int = 0) -> VirusScanner:
    return virus_scanner(mode, url, sandbox=InProcessSandbox(), max_bytes=max_bytes, max_age_days=max_age_days)


async def scan(url: str, data: bytes, tmp_path: Path, **options: Any) -> tuple[str, str]:
    path = tmp_path / "file"
    path.write_bytes(data)
    found = await scanner(url, **options).scan(path)
    return found.verdict, found.finding or ""


# ── what is found ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    [
        EICAR,
        zipped(("a.txt", EICAR)),
        zipped(("b.zip", zipped(("a.txt", EICAR)))),
        word_with(EICAR),
        zipped(("deed.docx", word_with(EICAR))),
    ],
    ids=["raw", "zipped", "nested", "in a DOCX", "in a DOCX in a ZIP"],
)
async def test_the_test_virus_is_found(clamd: str, data: bytes, tmp_path: Path) -> None:
    assert await scan(clamd, data, tmp_path) == ("infected", "Eicar.Test.UNOFFICIAL")


@pytest.mark.parametrize("data", [hostile_files.text_pdf(), hostile_files.word_file(), zipped(("a.txt", b"a deed"))])
async def test_a_good_file_is_clean(clamd: str, data: bytes, tmp_path: Path) -> None:
    assert await scan(clamd, data, tmp_path) == ("clean", "")


async def test_clamd_is_asked_over_tcp_as_well(tmp_path: Path) -> None:
    with running_clamd(tcp_port=free_port()) as url:
        assert (await scan(url, EICAR, tmp_path))[0] == "infected"
        assert (await scan(url, b"a deed", tmp_path))[0] == "clean"


# ── what clamd calls OK though it has not seen it ────────────────────────────────────────────────────────────────


def lying(archive: bytes, real: int, claimed: int) -> bytes:
    return archive.replace(struct.pack("<I", real), struct.pack("<I", claimed))


LARGE_MEMBER = zipped(("a.bin", TOO_LONG))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (LARGE_MEMBER, "a part of it has"),
        (zipped(("b.zip", LARGE_MEMBER)), "a part of it has"),
        (word_with(TOO_LONG), "a part of it has"),
        (lying(LARGE_MEMBER, len(TOO_LONG), 100), "its sizes are lies"),
        (zipped(("b.zip", lying(LARGE_MEMBER, len(TOO_LONG), 100))), "its sizes are lies"),
        (zipped(("a", EICAR)).partition(b"PK\1\2")[0] + zipped(("b", b"a deed")), "hidden data in front"),
    ],
    ids=["a large member", "nested", "in a DOCX", "of a false size", "of a false size, nested", "before the archive"],
)
async def test_a_file_that_clamd_calls_ok_without_having_seen_all_of_it_is_unscannable(
    clamd: str, data: bytes, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert await Clamd(clamd).scan(file) == "stream: OK", "the trap is gone: is our check still needed?"
    verdict, reason = await scan(clamd, data, tmp_path)
    assert verdict == "unscannable"
    assert why in reason


def pdf_with(stream: bytes) -> bytes:
    packed = zlib.compress(stream)
    attachment = b"<</Type/EmbeddedFile/Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(packed), packed)
    return hostile_files.raw_pdf(*hostile_files.ONE_BLANK_PAGE, attachment)


@pytest.mark.parametrize(
    "data",
    [
        pdf_with(TOO_LONG),
        gzip.compress(TOO_LONG),
        zipped(*((f"{n}", random.Random(n).randbytes(1 << 19)) for n in [1, 2])),
    ],
    ids=["in a PDF", "in a gzip", "longer than the stream may be"],
)
async def test_what_is_past_clamd_s_limits_is_unscannable_and_not_infected(
    clamd: str, data: bytes, tmp_path: Path
) -> None:
    assert (await scan(clamd, data, tmp_path))[0] == "unscannable"


async def test_without_alerts_clamd_s_ok_is_worth_nothing_and_its_alarm_is(tmp_path: Path) -> None:
    with running_clamd(alerts=False) as url:
        path = tmp_path / "pdf"
        path.write_bytes(pdf_with(TOO_LONG))
        with path.open("rb") as file:
            assert await Clamd(url).scan(file) == "stream: OK", "the trap is gone: is our check still needed?"
        for asked in (scanner(url).check(), scan(url, b"a deed", tmp_path)):
            with pytest.raises(Unavailable, match="AlertExceedsMax yes"):
                await asked
        assert (await scan(url, b"a deed", tmp_path, mode="if_available"))[0] == "unchecked"
        assert (await scan(url, EICAR, tmp_path, mode="if_available"))[0] == "infected"


@pytest.mark.parametrize("mode", ["required", "if_available"])
async def test_a_stream_longer_than_clamd_takes_is_never_passed(clamd: str, mode: Mode, tmp_path: Path) -> None:
    data = random.Random(0).randbytes(8 * MAX_BYTES)
    verdict, why = await scan(clamd, data, tmp_path, mode=mode)
    assert verdict == "unscannable"
    assert "more than the 1,048,576 that clamd takes" in why
    try:
        verdict, why = await scan(clamd, data, tmp_path, mode=mode, max_bytes=len(data))  # the setting is wrong
    except Unavailable as exc:
        verdict, why = "unscannable", str(exc)
    assert verdict == "unscannable"
    assert "StreamMaxLength" in why


# ── clamd away, mute or mad ──────────────────────────────────────────────────────────────────────────────────────


async def test_without_clamd_an_optional_scan_is_left_out_and_a_mandatory_one_waits(tmp_path: Path) -> None:
    verdict, why = await scan(AWAY, EICAR, tmp_path, mode="if_available")
    assert verdict == "unchecked"
    assert "can't be reached" in why
    with pytest.raises(Unavailable, match="JOBQUEUE_CLAMD_URL"):
        await scan(AWAY, EICAR, tmp_path)
    assert (await scan(AWAY, EICAR, tmp_path, mode="off"))[0] == "unchecked"


@asynccontextmanager
async def double(answers: dict[bytes, bytes | None]) -> AsyncIterator[str]:
    """Plays, in clamd's protocol, what a real one does rarely: None hangs up, and no entry is silence."""
    over = asyncio.Event()
    served: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, EOFError):
            command = (await reader.readuntil(b"\0"))[1:-1]
            if command not in answers:
                await over.wait()
            while command == b"INSTREAM" and (size := int.from_bytes(await reader.readexactly(4), "big")):
                await reader.readexactly(size)
            if (words := answers.get(command)) is not None:
                writer.write(words + b"\0")
                await writer.drain()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.create_task(answer(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        over.set()
        await asyncio.gather(*served)


WELL: dict[bytes, bytes | None] = {b"PING": b"PONG", b"VERSION": b"ClamAV 1.4.6/27800/Tue Nov 24 08:24:51 2026"}


@pytest.mark.parametrize("mode", ["required", "if_available"])
@pytest.mark.parametrize(
    "answer", [None, b"stream: Can't allocate memory ERROR", b"HTTP/1.1 400 Bad Request"], ids=["dies", "errs", "raves"]
)
async def test_a_clamd_that_fails_at_a_file_never_passes_it(mode: Mode, answer: bytes | None, tmp_path: Path) -> None:
    async with double(WELL | {b"INSTREAM": answer}) as url:
        with pytest.raises(Unavailable):
            await scan(url, b"a file that makes clamd crash", tmp_path, mode=mode)


async def test_a_silent_clamd_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clamd._ask, "__kwdefaults__", {"within_s": 0.05})
    async with double({}) as url:
        with pytest.raises(Unavailable, match="no answer within"):
            await scanner(url).check()


async def test_a_clamd_that_stops_reading_is_not_waited_for_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clamd.scan, "__kwdefaults__", {"within_s": 0.05})
    async with double(WELL) as url:
        with pytest.raises(Unavailable, match="no answer within"):
            await scan(url, bytes(30 * MAX_BYTES), tmp_path, max_bytes=1 << 30)


async def test_old_signatures_are_unwell_and_scan_all_the_same(tmp_path: Path) -> None:
    old: dict[bytes, bytes | None] = {
        b"VERSION": b"ClamAV 1.4.6/27000/Tue Nov 24 08:24:51 2015",
        b"INSTREAM": b"stream: Some.Thing FOUND",
    }
    async with double(WELL | old) as url:
        with pytest.raises(Unavailable, match="days old: run freshclam"):
            await scanner(url, max_age_days=7).check()
        assert await scan(url, b"any", tmp_path, max_age_days=7) == ("infected", "Some.Thing")


async def test_signatures_without_a_date_are_unwell_unless_no_age_is_asked_for(clamd: str) -> None:
    with pytest.raises(Unavailable, match="no dated signatures"):
        await scanner(clamd, max_age_days=7).check()
    await scanner(clamd, max_age_days=0).check()


@pytest.mark.parametrize("url", ["clamd", "unix://run/clamd", "tcp://host", "tcp://:3310", "http://host:3310"])
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="JOBQUEUE_CLAMD_URL"):
        Clamd(url)


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("url", "status"), [(AWAY, 503), (None, 200)])
async def test_the_server_is_ready_only_with_the_scanner_that_must_be_there(
    clamd: str, url: str | None, status: int
) -> None:
    records = MemoryRecords()
    app = build_app(
        records=records, blobs=MemoryBlobs(), queue=MemoryQueue(), access=Access(records),
        limits=ServerLimits(max_upload_bytes=1), also_ready={"virus_scan": scanner(url or clamd).check},
    )  # fmt: skip
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/readyz")
        assert answer.status == status
        assert (await answer.json()).get("down") == (["virus_scan"] if status == 503 else None)


def test_a_mandatory_scan_without_an_address_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="set JOBQUEUE_CLAMD_URL"):
        settings.load(virus_scan="required")
