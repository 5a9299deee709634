"""How others read the same PDF: pytesseract as it comes, and ocrmypdf in an environment of its own.

``python -m tests.bench.ocr_rivals PDF`` is the pytesseract contender: it prints the pages' texts and its seconds.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.rivals.environments import prepare
from tests.bench.rivals.roster import Contender

OCRMYPDF = Contender(
    name="ocrmypdf", package="ocrmypdf", jobs=0, recovery="", setting="-j2 --force-ocr --output-type pdf"
)
_BARE = ("-j2", "--force-ocr", "--output-type", "pdf", "--quiet")
_FULL = (*_BARE, "--rotate-pages", "--deskew")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A contender's pages, as read, and how long all of them took."""

    name: str
    texts: list[str]
    seconds: float


async def plain_pytesseract(pdf: Path) -> Run:
    """A loop over the pages at 300 dpi, with nothing set."""
    out = await _run(sys.executable, "-m", "tests.bench.ocr_rivals", pdf)
    return Run(name="pytesseract as it comes", **json.loads(out))


async def ocrmypdf(pdf: Path, *, full: bool) -> Run:
    """The program; ``full``: with what it has against turned and skewed pages. Raises `NotInstalled`."""
    environment = await prepare(OCRMYPDF)
    with tempfile.TemporaryDirectory(prefix="ocrmypdf-") as folder:
        sidecar = Path(folder) / "text"
        options = _FULL if full else _BARE
        started = time.perf_counter()
        await _run(
            environment.directory / "bin" / "ocrmypdf", *options, "--sidecar", sidecar, pdf, Path(folder) / "out.pdf"
        )
        seconds = time.perf_counter() - started
        texts = sidecar.read_text(encoding="utf-8").split("\f")
    name = "ocrmypdf -j2" + (" --rotate-pages --deskew" if full else "")
    return Run(name=name, texts=texts, seconds=seconds)


async def _run(*command: str | Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_THREAD_LIMIT"}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {err.decode(errors='replace')[-500:]}")
    return out.decode()


def main(pdf: str) -> None:
    """pytesseract as its page in the package index shows it."""
    import pytesseract
    from PIL import Image

    pymupdf: Any = importlib.import_module("pymupdf")  # it declares its types in part only
    started = time.perf_counter()
    texts = []
    with pymupdf.open(pdf) as document:
        for page in document:
            pixels = page.get_pixmap(dpi=300)
            image = Image.frombytes("RGB", (pixels.width, pixels.height), pixels.samples)
            texts.append(pytesseract.image_to_string(image))
    print(json.dumps({"texts": texts, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(sys.argv[1])
