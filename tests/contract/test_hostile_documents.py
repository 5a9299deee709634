"""Bombs in the real sandbox: each ends within its limits, for good, with a reason, and the next call runs."""

from __future__ import annotations

import io
import zlib
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from handlers.documents.engines import ENGINES
from jobqueue.errors import LimitExceeded, Permanent, RejectedFile
from jobqueue.ports import Limits
from jobqueue.services.sandbox import ProcessSandbox
from jobqueue.tasks import PageText
from tests.unit import hostile_files as hostile
from tests.unit import office_files as office

LIMITS = Limits(wall_s=8.0, cpu_s=6, memory_bytes=500_000_000, file_bytes=50_000_000)
INSPECT = "handlers.documents.inspect:inspect"


@pytest.fixture
async def sandbox() -> AsyncIterator[ProcessSandbox]:
    async with ProcessSandbox(processes=1, packages=("handlers.documents",)) as sandbox:
        yield sandbox


def packed_metadata(size_bytes: int) -> bytes:
    """A PDF whose XMP packet does."""
    inner = zlib.compress(b" " * size_bytes, 1)
    stream = b"<</Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(inner), inner)
    return office.pdf_with("/Metadata 5 0 R", stream)


def packed_cross_references() -> bytes:
    """A PDF whose stream of cross-references unpacks to a thousand times its size."""
    inner = zlib.compress(b"\0" * 60_000_000, 9)
    head = b"%PDF-1.5\n"
    body = b"1 0 obj\n<</Type/XRef/W[1 4 2]/Size 8500000/Root 2 0 R/Filter/FlateDecode/Length %d>>stream\n" % len(inner)
    return head + body + inner + b"\nendstream\nendobj\nstartxref\n%d\n%%%%EOF\n" % len(head)


def nested_arrays() -> bytes:
    return office.pdf_with("", b"[" * 200_000 + b"]" * 200_000)


def many_objects() -> bytes:
    return office.pdf_with("", b"[" + b"<<>>" * 400_000 + b"]")


def circular_pages() -> bytes:
    return office.pdf_with().replace(b"/Kids[3 0 R]", b"/Kids[2 0 R]")


def unclosed_html() -> bytes:
    message = EmailMessage()
    message["From"], message["Message-ID"] = "a@b.example", "<1@b.example>"
    message.set_content("<a " * 100_000 + "<!--" * 100_000, subtype="html", cte="8bit")
    return message.as_bytes()


def bare_headers() -> bytes:
    return b"Message-ID: <1@b.example>\nFrom: " + b"a@b.example, " * 300_000 + b"\n\nHi"


def wide_table() -> bytes:
    return office.docx_of_body(
        "<w:tbl>" + "<w:tr><w:tc><w:p><w:r><w:t>x</w:t></w:r></w:p></w:tc></w:tr>" * 300_000 + "</w:tbl>"
    )


def long_stream() -> bytes:
    """A PDF in whose packed stream of objects the strings are a hundred times as long as the file."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(office.pdf_with())) as pdf:
        pdf.Root["/X"] = pdf.make_indirect(pikepdf.Array([pikepdf.String("a" * 1_000_000)] * 20))
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return out.getvalue()


HARMLESS = [nested_arrays, bare_headers, unclosed_html, lambda: packed_metadata(100_000_000), long_stream]
BOMBS = [packed_cross_references, many_objects, circular_pages, wide_table, office.bomb]
OPTIONS: dict[str, Any] = {"max_bytes": 100_000_000, "max_pages": 2_000, "engine": "pymupdf"}


@pytest.mark.parametrize("make", BOMBS)
async def test_a_bomb_is_refused_for_good_within_the_limits_and_the_next_file_is_read(
    sandbox: ProcessSandbox, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    bomb, good = tmp_path / "bomb", tmp_path / "good"
    bomb.write_bytes(make())
    good.write_bytes(office.docx())
    with pytest.raises((RejectedFile, LimitExceeded), match=r"^bomb ?.*: ") as caught:
        await sandbox.run(INSPECT, str(bomb), "bomb", copy_to=str(tmp_path / "copy"), limits=LIMITS, **OPTIONS)
    assert isinstance(caught.value, Permanent)
    assert (await sandbox.run(INSPECT, str(good), "good", limits=LIMITS, **OPTIONS))["pages"] == 2


@pytest.mark.parametrize("make", HARMLESS)
async def test_what_would_burst_other_readers_costs_little_here(
    sandbox: ProcessSandbox, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(make())
    copy = str(tmp_path / "copy")
    answer = await sandbox.run(INSPECT, str(file), "file", copy_to=copy, limits=LIMITS, **OPTIONS)
    assert answer["pages"] == 1


async def test_time_without_end_is_cut_off_as_a_limit(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"{\\rtf1" + b"\\'41" * 1_900_000)
    with pytest.raises(LimitExceeded, match="time"):
        await sandbox.run(INSPECT, str(file), "file", limits=Limits(wall_s=0.5), **OPTIONS)


def page_of(content: bytes) -> bytes:
    """A PDF of one page with that content, and a font ``F``."""
    return hostile.raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
        b"/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
    )


SCATTERED = b"".join(b"1 0 0 1 %d %d Tm (buyer) Tj " % (i * 37 % 550, i * 11 % 780) for i in range(40_000))
GRID = b"".join(b"1 0 0 1 %d %d Tm (buyer) Tj " % (i % 40 * 15, 10 + i // 40 * 16) for i in range(1_900))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("content", "words"), [(SCATTERED, 40_000), (GRID, 1_900)], ids=["scattered", "grid"])
async def test_a_page_strewn_with_words_is_read_within_the_limits(
    sandbox: ProcessSandbox, tmp_path: Path, engine: str, content: bytes, words: int
) -> None:
    file = tmp_path / "file"
    file.write_bytes(page_of(b"BT /F 3 Tf " + content + b"ET"))
    read = "handlers.documents.text:read_pages"
    pages = await sandbox.run(read, str(file), "application/pdf", 1, 1, engine=engine, languages="eng", limits=LIMITS)
    assert len(list(PageText.model_validate(pages[0]).words)) == words
