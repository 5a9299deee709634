"""Reading scans: ours beside pytesseract as it comes and ocrmypdf, on the same pages in one run.

``bin/bench ocr [--json] [--quick]`` prints pages a second and the share of words read (bag of words, F1) for ours with
each engine, through the queue and the sandbox by two workers; what a page costs besides its reading; and what the
second worker adds. Pages: see `tests.bench.ocr_pages`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from jobqueue.broker.connection import close_pool, open_pool, parse
from jobqueue.broker.embedded import EmbeddedRedis
from jobqueue.broker.enqueue import NewJob
from tests.bench.ocr_pages import KINDS, Sheet, make, pdf, sheets, word_accuracy
from tests.bench.ocr_rivals import Run, ocrmypdf, plain_pytesseract
from tests.bench.ocr_worker import PAGES_KEY
from tests.bench.rivals.environments import NotInstalled

QUEUE: Final = "jobqueue:bench-ocr"
QUICK_KINDS: Final = ("ordinary print, 300 dpi", "skewed by 6 degrees")
AIMS: Final = {"of ocrmypdf": 2.0, "of pytesseract": 8.0, "overhead": 0.03, "second worker": 1.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRun:
    """A run of ours, and the seconds that the pages themselves took, in the sandbox."""

    run: Run
    page_seconds: float


@asynccontextmanager
async def workers(count: int, url: str, file: Path, engine: str) -> AsyncIterator[None]:
    """So many worker processes, for as long as the block runs."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.ocr_worker", url, QUEUE, str(file), engine, stdin=asyncio.subprocess.PIPE
        )
        for _ in range(count)
    ]
    try:
        yield
    finally:
        await asyncio.gather(*(process.communicate(b"") for process in processes))


async def ours(redis: Redis, url: str, file: Path, pages: int, *, engine: str, count: int) -> OurRun:
    """All pages through the queue, each a job, after each worker's first page, which loads its model."""
    await redis.flushall()
    pool = open_pool(parse(url))
    async with workers(count, url, file, engine):
        await _read(redis, pool, [1] * count)
        started = time.perf_counter()
        rows = await _read(redis, pool, list(range(1, pages + 1)))
        seconds = time.perf_counter() - started
    await close_pool(pool)
    texts = [row["text"] for row in sorted(rows, key=lambda row: row["number"])]
    name = f"ours, {engine}, {count} worker{'s' if count > 1 else ''}"
    return OurRun(run=Run(name=name, texts=texts, seconds=seconds), page_seconds=sum(row["seconds"] for row in rows))


async def _read(redis: Redis, pool: Any, numbers: Sequence[int]) -> list[dict[str, Any]]:
    await redis.delete(PAGES_KEY)
    await pool.enqueue_many((NewJob(function="page", args=(number,)) for number in numbers), queue=QUEUE)
    async with asyncio.timeout(600):
        rows: list[Any] = [await redis.blpop([PAGES_KEY], 0) for _ in numbers]  # type: ignore[misc]  # redis types both kinds of client as one
    return [json.loads(row) for _key, row in rows]


async def measure(*, quick: bool, rounds: int) -> dict[str, Any]:
    """The whole run."""
    pages = [make(name) for name in QUICK_KINDS] if quick else sheets(rounds=rounds)
    engines = ["tesserocr", "tesseract"] if importlib.util.find_spec("tesserocr") else ["tesseract"]
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-") as directory:
        file = Path(directory) / "pages.pdf"
        file.write_bytes(pdf(pages))
        async with EmbeddedRedis(Path(directory)) as endpoint, Redis.from_url(endpoint.url) as redis:
            one = await ours(redis, endpoint.url, file, len(pages), engine=engines[0], count=1)
            both = [await ours(redis, endpoint.url, file, len(pages), engine=name, count=2) for name in engines]
        runs = [*(each.run for each in both), one.run, await plain_pytesseract(file)]
        for full in (False, True):
            try:
                runs.append(await ocrmypdf(file, full=full))
            except NotInstalled as exc:
                notes.append(f"ocrmypdf is left out: {exc}")
    rows = [_row(run, pages) for run in runs]
    return {
        "rows": rows,
        "ratios": _ratios(rows),
        "overhead": one.run.seconds / one.page_seconds - 1,
        "overhead_ms_per_page": (one.run.seconds - one.page_seconds) / len(pages) * 1e3,
        "second_worker": one.run.seconds / both[0].run.seconds,
        "pages": len(pages),
        "notes": notes,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(),
                    "load_1m": round(os.getloadavg()[0], 2), "quick": quick},
    }  # fmt: skip


def _row(run: Run, pages: Sequence[Sheet]) -> dict[str, Any]:
    found = [word_accuracy(page.words, text) for page, text in zip(pages, run.texts, strict=False)]
    by_kind = {kind: [a for page, a in zip(pages, found, strict=False) if page.name == kind] for kind in KINDS}
    return {
        "name": run.name,
        "pages_per_s": len(pages) / run.seconds,
        "accuracy": sum(found) / len(pages),
        "by_kind": {kind: statistics.mean(values) for kind, values in by_kind.items() if values},
    }


def _ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    speed = {row["name"]: row["pages_per_s"] for row in rows}
    best = rows[0]["pages_per_s"]
    found = {"of pytesseract": best / speed["pytesseract as it comes"]}
    if "ocrmypdf -j2" in speed:
        found["of ocrmypdf"] = best / speed["ocrmypdf -j2"]
    return found


def table(figures: dict[str, Any]) -> str:
    """The figures for people, each beside its aim."""
    lines = [f"{'':<42}{'pages/s':>9}{'words':>8}"]
    lines += [f"{row['name']:<42}{row['pages_per_s']:>9.2f}{row['accuracy']:>8.4f}" for row in figures["rows"]]
    lines.append("")
    lines += [f"{kind:<28}" + "".join(f"{row['by_kind'][kind]:>9.4f}" for row in figures["rows"])
              for kind in figures["rows"][0]["by_kind"]]  # fmt: skip
    lines.append("")
    lines += [f"{figures['rows'][0]['name']}: {value:.1f} times the pages/s {name} (aim: {AIMS[name]:g})"
              for name, value in figures["ratios"].items()]  # fmt: skip
    lines += [
        f"queue and sandbox: {figures['overhead']:.1%} of a page's time (aim: <= {AIMS['overhead']:.0%})",
        f"queue and sandbox: {figures['overhead_ms_per_page']:.0f} ms a page",
        f"two workers: {figures['second_worker']:.2f} times one (aim: >= {AIMS['second worker']:g})",
        *figures["notes"],
        ", ".join(f"{key} {value}" for key, value in figures["machine"].items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="bin/bench ocr", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--quick", action="store_true", help="two pages: shows that it runs, not what is true")
    parser.add_argument("--rounds", type=int, default=1, help=f"times the {len(KINDS)} kinds of pages (default: 1)")
    options = parser.parse_args()
    figures = asyncio.run(measure(quick=options.quick, rounds=options.rounds))
    print(json.dumps(figures, indent=2) if options.json else table(figures))


if __name__ == "__main__":
    main()
