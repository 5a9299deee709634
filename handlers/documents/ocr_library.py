"""Recognition by Tesseract as a library, by way of tesserocr; the model stays loaded from page to page."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from handlers.documents.cleaning import clean_line
from handlers.documents.ocr_engines import ORIENTATION_ONLY, PAGE_LAYOUT, Orientation, Word, words_of_table
from handlers.documents.ocr_program import language_data
from jobqueue.errors import LimitExceeded, RejectedFile

if TYPE_CHECKING:
    from PIL.Image import Image

_MODELS_KEPT: Final = 2  # a document's language, and the one its odd page is in; 30 to 100 MB each


class TesseractLibrary:
    """The engine ``tesserocr``. It reads with the language data of the system's Tesseract: the wheel has none."""

    def languages(self) -> frozenset[str]:
        return language_data().languages

    def words(self, image: Image, *, languages: str, dpi: float | None, timeout_s: float) -> list[Word]:
        api = _model(str(language_data().folder), languages)
        api.SetPageSegMode(PAGE_LAYOUT)
        with _looking_at(api, image):
            if dpi:
                api.SetSourceResolution(round(dpi))
            # Layout analysis doesn't look at the clock; the sandbox's own limit is behind this one.
            if not api.Recognize(round(timeout_s * 1_000)):
                raise LimitExceeded(f"recognising the page took longer than {timeout_s:g} s: scan it smaller")
            return words_of_table(api.GetTSVText(0))

    def orientation(self, image: Image, *, timeout_s: float) -> Orientation | None:  # noqa: ARG002  # takes 0.2 s
        data = language_data()
        if "osd" not in data.languages:
            return None
        api = _model(str(data.folder), "osd")
        api.SetPageSegMode(ORIENTATION_ONLY)
        with _looking_at(api, image):
            found = api.DetectOrientationScript()
        if not found:
            return None
        # By how much it has been turned clockwise, where the program says by how much it is to be turned.
        return Orientation(degrees=-int(found["orient_deg"]) % 360, confidence=float(found["orient_conf"]))


@functools.lru_cache(maxsize=_MODELS_KEPT + 1)
def _model(folder: str, languages: str) -> Any:
    # Read once, when the library is loaded: a page is one process's work, and threads only burn processor time.
    os.environ["OMP_THREAD_LIMIT"] = "1"
    tesserocr: Any = importlib.import_module("tesserocr")  # it declares its types in part only
    api = tesserocr.PyTessBaseAPI(path=folder, lang=languages)
    api.SetVariable("debug_file", os.devnull)  # its remarks on odd pictures would go to the child's stderr
    return api


@contextmanager
def _looking_at(api: Any, image: Image) -> Iterator[None]:
    pixels = image.tobytes()  # the library reads them in place: they must live as long as it looks
    try:
        api.SetImageBytes(pixels, image.width, image.height, 1, image.width)
        yield
    except RuntimeError as exc:
        reason = clean_line(str(exc), max_chars=200)
        raise RejectedFile(f"tesseract can't read the page ({reason}): save the picture again") from exc
    finally:
        api.Clear()  # nothing of one page may be left for the next
