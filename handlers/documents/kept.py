"""One PDF left open from page to page, in the process that reads them."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from handlers.documents.engines import PdfDocument, open_pdf
from handlers.documents.pdf_file import PdfSource, opened

if TYPE_CHECKING:
    import pikepdf

_T = TypeVar("_T")


def kept_pdf(path: Path, *, engine: str) -> PdfDocument:
    """As `open_pdf`, but left open for the next page of the same file: opening one costs more than reading a page.

    The file before is closed when another one is asked for, so a process has one open at most.
    """
    return _READ.get(path, engine, lambda: open_pdf(path, engine=engine, file_name="the file"))


def kept_objects(path: Path) -> pikepdf.Pdf:
    """The objects of a PDF, as `opened` gives them, left open likewise."""
    return _OBJECTS.get(path, "", lambda: opened(PdfSource(path=path, name="the file", size_bytes=0)))


@dataclass(slots=True)
class _Kept(Generic[_T]):
    """The file that is open, told apart by more than its path: that may be another file's by now."""

    which: tuple[str | int, ...] | None = None
    document: list[_T] = field(default_factory=list)
    closing: ExitStack = field(default_factory=ExitStack)
    to_be_closed: bool = False

    def get(self, path: Path, how: str, to_open: Callable[[], AbstractContextManager[_T]]) -> _T:
        about = path.stat()
        which = (str(path), how, about.st_ino, about.st_mtime_ns, about.st_size)
        if self.which != which:
            self.which = None
            self.closing.close()
            self.document = [self.closing.enter_context(to_open())]
            if not self.to_be_closed:
                # After the engine's own import: at exit it looks for files left open, and ours must be closed by then.
                atexit.register(self.closing.close)
                self.to_be_closed = True
            self.which = which
        return self.document[0]


_READ: Final = _Kept[PdfDocument]()
_OBJECTS: Final = _Kept["pikepdf.Pdf"]()
