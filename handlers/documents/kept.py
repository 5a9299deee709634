"""One PDF left open from page to page, in the process that reads them."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from handlers.documents.engines import PdfDocument, open_pdf


def kept_pdf(path: Path, *, engine: str) -> PdfDocument:
    """As `open_pdf`, but left open for the next page of the same file: opening one costs more than reading a page.

    The file before is closed when another one is asked for, so a process has one open at most.
    """
    about = path.stat()
    which = (str(path), engine, about.st_ino, about.st_mtime_ns, about.st_size)
    if _KEPT.which != which:
        _KEPT.which = None
        _KEPT.closing.close()
        _KEPT.document = _KEPT.closing.enter_context(open_pdf(path, engine=engine, file_name="the file"))
        if not _KEPT.to_be_closed:
            # After the engine's own import: at exit it looks for files left open, and ours must be closed by then.
            atexit.register(_KEPT.closing.close)
            _KEPT.to_be_closed = True
        _KEPT.which = which
    return cast("PdfDocument", _KEPT.document)


@dataclass(slots=True)
class _Kept:
    """The file that is open, told apart by more than its path: that may be another file's by now."""

    which: tuple[str | int, ...] | None = None
    document: PdfDocument | None = None
    closing: ExitStack = field(default_factory=ExitStack)
    to_be_closed: bool = False


_KEPT: Final = _Kept()
