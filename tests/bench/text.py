"""Reading text layers: ours beside bare PyMuPDF loops, on the same pages in one run.

``bin/bench text [--json] [--quick]`` prints pages a second of two loops (one takes the text alone, one the words with
their boxes; ours gives both), of our reading in the same process, and of our reading through the sandbox, which uses as
many processes as a job does; rounds in turn, medians.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from handlers.documents.sample_text import AGREEMENT
from handlers.documents.text import read_page
from handlers.ocr import PAGE_LIMITS, PAGES_A_CALL, PAGES_AT_ONCE
from jobqueue.services.sandbox import ProcessSandbox

AIM: Final = 0.9
TEXT_LOOP: Final = "bare loop, text"
WORDS_LOOP: Final = "bare loop, words with boxes"
_LINES_A_PAGE: Final = 45
_PDF: Final = "application/pdf"
_OPTIONS: Final[dict[str, Any]] = {"engine": "pymupdf", "languages": "eng"}


def agreement(pages: int) -> bytes:
    """A PDF of dense pages of the sample agreement's text."""
    from reportlab.lib.pagesizes import letter
    from reportlab.pdfgen.canvas import Canvas

    words = AGREEMENT.split()
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=letter, invariant=1)
    for page in range(pages):
        canvas.setFont("Helvetica", 10)
        for line in range(_LINES_A_PAGE):
            at = (page * 97 + line * 12) % (len(words) - 12)
            canvas.drawString(72, 720 - 14 * line, " ".join(words[at : at + 12]))
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def bare(path: str, pages: int, what: str) -> None:
    """As PyMuPDF's documentation shows it."""
    pymupdf: Any = importlib.import_module("pymupdf")  # it declares its types in part only
    with pymupdf.open(path) as document:
        assert sum(bool(page.get_text(what)) for page in document) == pages


def direct(path: str, pages: int) -> None:
    """Our reading, in this process."""
    for number in range(1, pages + 1):
        assert read_page(path, _PDF, number, **_OPTIONS)["word_table"]


async def sandboxed(sandbox: ProcessSandbox, path: str, pages: int) -> None:
    """Our reading, as many calls at once and pages a call as a job has."""
    spans = iter(range(1, pages + 1, PAGES_A_CALL))
    function = "handlers.documents.text:read_pages"

    async def read() -> None:
        for first in spans:
            last = min(pages, first + PAGES_A_CALL - 1)
            found = await sandbox.run(function, path, _PDF, first, last, limits=PAGE_LIMITS, **_OPTIONS)
            assert len(found) == last - first + 1

    async with asyncio.TaskGroup() as group:
        for _ in range(PAGES_AT_ONCE):
            group.create_task(read(), name="page reader")


async def measure(pages: int, rounds: int) -> dict[str, Any]:
    """Pages a second of each, medians over the rounds."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-") as folder:
        path = str(Path(folder) / "agreement.pdf")
        Path(path).write_bytes(agreement(pages))  # noqa: ASYNC240  # nothing runs beside it yet
        async with ProcessSandbox(processes=PAGES_AT_ONCE) as sandbox:
            await sandboxed(sandbox, path, PAGES_AT_ONCE)
            ways: dict[str, Callable[[], Awaitable[None]]] = {
                TEXT_LOOP: lambda: asyncio.to_thread(bare, path, pages, "text"),
                WORDS_LOOP: lambda: asyncio.to_thread(bare, path, pages, "words"),
                "ours, in one process": lambda: asyncio.to_thread(direct, path, pages),
                "ours, through the sandbox": lambda: sandboxed(sandbox, path, pages),
            }
            for _ in range(rounds):
                for name, way in ways.items():
                    started = time.perf_counter()
                    await way()
                    found.setdefault(name, []).append(pages / (time.perf_counter() - started))
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="bin/bench text", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--quick", action="store_true", help="few pages: shows that it runs, not what is true")
    options = parser.parse_args()
    rates = asyncio.run(measure(*((30, 1) if options.quick else (400, 5))))
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load_1m": round(os.getloadavg()[0], 2)}
    if options.json:
        print(json.dumps({"pages_per_s": rates, "machine": machine}, indent=2))
        return
    print(f"{'':<28}{'':>16}{'of text':>9}{'of words':>9}")
    for name, rate in rates.items():
        print(f"{name:<28}{rate:>8.0f} pages/s{rate / rates[TEXT_LOOP]:>9.0%}{rate / rates[WORDS_LOOP]:>9.0%}")
    print(
        f"aim: >= {AIM:.0%} of either loop through the sandbox;",
        ", ".join(f"{key} {value}" for key, value in machine.items()),
    )


if __name__ == "__main__":
    main()
