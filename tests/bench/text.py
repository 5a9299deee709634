"""Reading text layers: ours beside a bare PyMuPDF loop, on the same pages in one run.

``bin/bench text [--json] [--quick]`` prints pages a second of the loop, of our reading in the same process, and of our
reading page by page through the sandbox, rounds in turn; medians.
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
from handlers.ocr import PAGE_LIMITS, PAGES_AT_ONCE
from jobqueue.services.sandbox import ProcessSandbox

AIM: Final = 0.9
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


def bare(path: str, pages: int) -> None:
    """As PyMuPDF's documentation shows it."""
    pymupdf: Any = importlib.import_module("pymupdf")  # it declares its types in part only
    with pymupdf.open(path) as document:
        assert sum(bool(page.get_text()) for page in document) == pages


def direct(path: str, pages: int) -> None:
    """Our reading, in this process."""
    for number in range(1, pages + 1):
        assert read_page(path, _PDF, number, **_OPTIONS)["source"] == "text"


async def sandboxed(sandbox: ProcessSandbox, path: str, pages: int) -> None:
    """Our reading, a call a page, as many at once as a job has."""
    numbers = iter(range(1, pages + 1))

    async def read() -> None:
        for number in numbers:
            await sandbox.run("handlers.documents.text:read_page", path, _PDF, number, limits=PAGE_LIMITS, **_OPTIONS)

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
                "bare PyMuPDF loop": lambda: asyncio.to_thread(bare, path, pages),
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
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        print(f"{name:<28}{rate:>8.0f} pages/s{rate / first:>8.0%}")
    print(f"aim: >= {AIM:.0%} of the loop; " + ", ".join(f"{key} {value}" for key, value in machine.items()))


if __name__ == "__main__":
    main()
