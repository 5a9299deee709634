"""What documents are read with, and the sandbox that they are read in."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from handlers.documents.languages import AUTO
from handlers.documents.ocr_engines import check_languages
from jobqueue.cli.checks import Finding, failed, ok, warning
from jobqueue.errors import ConfigError, LimitExceeded
from jobqueue.ports import Limits
from jobqueue.services.sandbox import ProcessSandbox
from jobqueue.settings import Settings

_ENGINES: Final = "handlers.ocr_cache:reading_engines"
_ALLOCATE: Final = "builtins:bytearray"
_SMALL: Final = Limits(wall_s=4.0, cpu_s=4, memory_bytes=400_000_000)
_FONTS: Final = ("reportlab", "pymupdf-fonts")
_DATA_SUFFIX: Final = ".traineddata"
FEW_DESCRIPTORS: Final = 1_024
TOO_FEW_DESCRIPTORS: Final = 256


async def reading(config: Settings) -> Sequence[Finding]:
    """The sandbox, and the engines as they are found from within it."""
    # Confined as the worker's, but that no stored file is needed.
    async with ProcessSandbox(processes=1, packages=("handlers", "builtins"), readable=()) as sandbox:
        gaps = await sandbox.gaps()
        engines = await sandbox.run(_ENGINES, config.text_engine, config.ocr_engine, limits=_SMALL)
        memory = await _memory_limit(sandbox)
    return [_pdf_engine(config, engines), *_recognition(config, engines), _fonts(), memory, *_confinement(gaps)]


def _pdf_engine(config: Settings, engines: Mapping[str, Any]) -> Finding:
    name = config.text_engine
    if engines[name] is None:
        return failed("PDF engine", f"{name} is not installed", f"pip install {name}, or set JOBQUEUE_TEXT_ENGINE")
    return ok("PDF engine", f"{name} {engines[name]}")


def _recognition(config: Settings, engines: Mapping[str, Any]) -> list[Finding]:
    if "languages" not in engines:
        advice = "install tesseract-ocr (apt-get); without it scans can't be read"
        return [failed("OCR", "tesseract is not installed", advice)]
    if config.ocr_engine == "tesserocr" and engines["tesserocr"] is None:
        return [failed("OCR", "tesserocr is not installed", "pip install tesserocr, or set JOBQUEUE_OCR_ENGINE=auto")]
    library = engines.get("tesserocr")
    engine = ok("OCR", f"tesserocr {library}" if library else f"the program, {engines['tesseract']}")
    codes = {str(name).removesuffix(_DATA_SUFFIX) for name, _ in engines["languages"]}
    installed = ", ".join(sorted(codes)) or "none"
    if not codes - {"osd", "equ"}:
        return [engine, failed("OCR languages", f"installed: {installed}", "install tesseract-ocr-eng (apt-get)")]
    if config.ocr_languages != AUTO:
        try:
            check_languages(config.ocr_languages, codes)
        except ConfigError as exc:
            return [engine, failed("OCR languages", str(exc))]
    if "osd" not in codes:
        advice = "install tesseract-ocr-osd (apt-get)"
        return [engine, warning("OCR languages", f"{installed}; pages that lie on their side aren't turned", advice)]
    return [engine, ok("OCR languages", installed)]


def _fonts() -> Finding:
    missing = [name for name in _FONTS if not _installed(name)]
    if missing:
        return failed("fonts", f"reports can't be written without {', '.join(missing)}", f"pip install {missing[0]}")
    return ok("fonts", f"pymupdf-fonts {version('pymupdf-fonts')}, for PDFs by reportlab {version('reportlab')}")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


async def _memory_limit(sandbox: ProcessSandbox) -> Finding:
    name = "sandbox memory limit"
    try:
        await sandbox.run(_ALLOCATE, 2 * _SMALL.memory_bytes, limits=_SMALL)
    except LimitExceeded as exc:
        if "memory" in str(exc):
            return ok(name, "holds")
    return failed(name, "does not hold: one document can take all memory", "run the workers on Linux")


def _confinement(gaps: Sequence[str]) -> list[Finding]:
    if not gaps:
        return [ok("sandbox confinement", "children have no network, and only the files that they need")]
    return [warning("sandbox confinement", f"of its children: {gap}") for gap in gaps]


async def descriptors(_: Settings) -> Sequence[Finding]:
    """How many files and connections a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft:,} a process" if soft != resource.RLIM_INFINITY else "without a limit"
    if soft == resource.RLIM_INFINITY or soft >= FEW_DESCRIPTORS:
        return [ok("open files", found)]
    allowed = f", of {hard:,} allowed" if hard != resource.RLIM_INFINITY else ""
    said = failed if soft < TOO_FEW_DESCRIPTORS else warning
    return [said("open files", found + allowed, f"raise it to {FEW_DESCRIPTORS:,} or more: ulimit -n, LimitNOFILE=")]
