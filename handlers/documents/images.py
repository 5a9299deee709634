"""Pictures within a pixel budget: PNG, JPEG, WebP, HEIC and TIFF, one page or many."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from handlers.documents.cleaning import clean_line
from jobqueue.errors import LimitExceeded, RejectedFile

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 178_000_000  # a page of 44 x 44 inches at 300 dpi; 0.7 GB when decoded in colour
_SAME_SCALE: Final = 0.1  # resampling costs sharpness: not for so little
_PAGE_INCHES: Final = 11.35  # between letter, 11, and A4, 11.7
_MAX_PAGE_RATIO: Final = 1.8
_LIKELY_DPI: Final = (60, 700)
FORMATS: Final = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
    "image/heic": "HEIF",
}

# Pillow's decoders raise all of these for malformed data.
_MALFORMED: Final = (
    OSError, EOFError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, RuntimeError
)  # fmt: skip


@contextmanager
def open_image(path: Path, mime_type: str, *, file_name: str) -> Iterator[ImageFile]:
    """Open a picture of that type; only its header is read.

    Raises:
        LimitExceeded: its header claims more than `MAX_PIXELS`.
        RejectedFile: it is damaged. Errors of decoding inside the block are turned into this, too.
    """
    from PIL import Image, UnidentifiedImageError

    if mime_type == "image/heic":
        import pi_heif  # the reading half of pillow-heif, without the GPL encoder

        pi_heif.register_heif_opener(thumbnails=False)
    with warnings.catch_warnings():
        # Pillow warns at half the size at which it refuses, and about malformed tags; the checks here decide.
        warnings.simplefilter("ignore")
        try:
            # An open file, not its name: given a name, Pillow maps raw TIFFs into memory and loses their orientation.
            with path.open("rb") as file, Image.open(file, formats=[FORMATS[mime_type]]) as image:
                check_pixels(image, file_name)
                yield image
        except Image.DecompressionBombError as exc:
            raise _too_large(file_name) from exc
        except UnidentifiedImageError as exc:
            raise _damaged(file_name, "its header can't be read") from exc
        except _MALFORMED as exc:
            raise _damaged(file_name, clean_line(str(exc), max_chars=200)) from exc


def check_pixels(image: Image, file_name: str) -> None:
    """Refuse a frame over the budget before a byte of it is decoded.

    Raises:
        LimitExceeded: it has more than `MAX_PIXELS`.
    """
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(file_name, f" ({image.width:,} x {image.height:,})")


def frames(image: ImageFile, file_name: str) -> Iterator[int]:
    """Step through a TIFF's frames (other pictures have one), each within the budget; yields 1-based numbers.

    The chain of frames is walked, not counted first: a hostile one can be millions of frames long.
    """
    number = 1
    yield number
    while image.format == "TIFF":
        try:
            image.seek(number)
        except EOFError:
            return
        number += 1
        check_pixels(image, file_name)
        yield number


def grey_page(path: Path, mime_type: str, number: int, *, max_pixels: int) -> tuple[Image, float | None]:
    """Page ``number`` of a picture in grey and upright, with its resolution in dpi where it states one.

    Scaled down where it has more than ``max_pixels``; the resolution goes with it.
    """
    from PIL import ImageOps

    name = f"page {number}"
    with open_image(path, mime_type, file_name=name) as image:
        if number > 1:
            image.seek(number - 1)
            check_pixels(image, name)
        dpi = resolution(image)
        image.draft("L", None)  # a JPEG decodes straight to grey, in a third of the memory; other formats can't
        grey = ImageOps.exif_transpose(_to_grey(image))  # a TIFF has turned itself on loading, and says so no more
        scale = (max_pixels / (grey.width * grey.height)) ** 0.5
        if scale >= 1:
            return grey, dpi
        size = (max(1, int(grey.width * scale)), max(1, int(grey.height * scale)))
        return grey.resize(size, reducing_gap=2.0), dpi * scale if dpi else None


def at_dpi(image: Image, own_dpi: float | None, wanted_dpi: float, *, max_pixels: int) -> tuple[Image, float | None]:
    """The picture at about ``wanted_dpi``, within ``max_pixels``, and its new resolution; as it is where unknown.

    >>> from PIL import Image
    >>> small, dpi = at_dpi(Image.new("L", (2550, 3300)), 300, 200, max_pixels=25_000_000)
    >>> small.size, dpi
    ((1700, 2200), 200.0)
    """
    from PIL import Image as Pillow

    if own_dpi is None:
        return image, None
    budget = (max_pixels / (image.width * image.height)) ** 0.5
    scale = min(wanted_dpi / own_dpi, budget)
    if abs(scale - 1) < _SAME_SCALE:
        return image, own_dpi
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Pillow.Resampling.LANCZOS, reducing_gap=2.0), own_dpi * scale


def likely_dpi(image: Image) -> float | None:
    """The resolution of a picture that states none, were it a whole letter or A4 page; None where it can't be one.

    >>> from PIL import Image
    >>> round(likely_dpi(Image.new("L", (2550, 3300)))), likely_dpi(Image.new("L", (3300, 400)))
    (291, None)
    """
    long, short = max(image.size), min(image.size)
    dpi = long / _PAGE_INCHES
    return dpi if long <= _MAX_PAGE_RATIO * short and _LIKELY_DPI[0] <= dpi <= _LIKELY_DPI[1] else None


def resolution(image: Image) -> float | None:
    """Dots per inch by the picture's own tags, where they are believable for a page (100 to 2,400)."""
    try:
        dpi = float(image.info["dpi"][0])
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    return dpi if 100 <= dpi <= 2_400 else None  # noqa: PLR2004  # 72 and 96 stand for "unknown" in most files


def _to_grey(image: Image) -> Image:
    from PIL import Image as Pillow

    if image.mode.startswith("I;16"):  # convert() would clip 16 bits to 8, not scale them
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:  # dropped alpha would leave black on black
        layers = image.convert("LA")
        paper = Pillow.new("L", layers.size, 255)
        paper.paste(layers.getchannel("L"), mask=layers.getchannel("A"))
        return paper
    return image.convert("L")


def _too_large(file_name: str, size: str = "") -> LimitExceeded:
    return LimitExceeded(
        f"{file_name} has more pixels{size} than the {MAX_PIXELS:,} allowed: scan it at a lower resolution"
    )


def _damaged(file_name: str, reason: str) -> RejectedFile:
    return RejectedFile(f"{file_name} is a damaged picture ({reason}): save it again and upload that")
