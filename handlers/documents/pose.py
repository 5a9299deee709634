"""How a sheet lies in its picture, and the way from the upright sheet back to the picture."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_SKEW_DEGREES: Final = 0.8  # below this, Tesseract reads no better for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """What sets a picture's sheet upright: first the turn, then the skew.

    Attributes:
        size: of the picture as given, in pixels.
        turn: 0, 90, 180 or 270 degrees clockwise.
        skew: degrees counter-clockwise; a small one is left alone.
    """

    size: tuple[int, int]
    turn: int = 0
    skew: float = 0.0

    def upright(self, image: Image) -> Image:
        """The picture, set upright."""
        from PIL import Image as Pillow

        if self.turn:
            image = image.transpose(
                {90: Pillow.Transpose.ROTATE_270, 180: Pillow.Transpose.ROTATE_180, 270: Pillow.Transpose.ROTATE_90}[
                    self.turn
                ]
            )
        if abs(self.skew) >= MIN_SKEW_DEGREES:
            image = image.rotate(self.skew, resample=Pillow.Resampling.BICUBIC, fillcolor=255)
        return image

    def on_page(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """The box in the given picture that holds this one of the upright sheet.

        >>> Pose(size=(200, 100), turn=90).on_page((10, 20, 30, 40))
        (20, 70, 40, 90)
        """
        left, top, right, bottom = box
        corners = [self._back(x, y) for x in (left, right) for y in (top, bottom)]
        across, down = zip(*corners, strict=True)
        width, height = self.size
        return (
            max(0, round(min(across))),
            max(0, round(min(down))),
            min(width, round(max(across))),
            min(height, round(max(down))),
        )

    def _back(self, x: float, y: float) -> tuple[float, float]:
        width, height = self.size
        if abs(self.skew) >= MIN_SKEW_DEGREES:
            middle_x, middle_y = (height / 2, width / 2) if self.turn in {90, 270} else (width / 2, height / 2)
            angle = math.radians(self.skew)
            dx, dy = x - middle_x, y - middle_y
            x = middle_x + dx * math.cos(angle) - dy * math.sin(angle)
            y = middle_y + dx * math.sin(angle) + dy * math.cos(angle)
        match self.turn:
            case 90:
                return y, height - x
            case 180:
                return width - x, height - y
            case 270:
                return width - y, x
        return x, y
