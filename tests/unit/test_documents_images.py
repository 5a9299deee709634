"""Pictures are opened within the budget, upright, in grey."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from handlers.documents import images
from handlers.documents.deskew import line_pitch, skew
from handlers.documents.images import MAX_PIXELS, at_dpi, grey_page, likely_dpi, open_image
from jobqueue.errors import LimitExceeded, RejectedFile
from tests.unit import hostile_files as hostile

BUDGET = 10_000_000


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "picture"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("side", [60_000, 13_400])
def test_the_pixel_budget_is_checked_before_decoding(tmp_path: Path, side: int) -> None:
    path = saved(tmp_path, hostile.huge_png(side, side))
    assert side * side > MAX_PIXELS
    with pytest.raises(LimitExceeded, match="178,000,000"), open_image(path, "image/png", file_name="plan.png"):
        pytest.fail("it was opened")


def test_a_later_frame_over_the_budget_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("L", size, 255) for size in ((10, 10), (30, 30))]
    path = saved(tmp_path, hostile.picture(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    monkeypatch.setattr(images, "MAX_PIXELS", 500)
    with pytest.raises(LimitExceeded, match="page 2"):
        grey_page(path, "image/tiff", 2, max_pixels=BUDGET)


def test_a_picture_of_another_format_is_not_opened(tmp_path: Path) -> None:
    path = saved(tmp_path, hostile.picture(Image.new("L", (20, 20)), "BMP"))
    with pytest.raises(RejectedFile, match="header"), open_image(path, "image/png", file_name="plan.png"):
        pytest.fail("it was opened")


@pytest.mark.parametrize(
    ("format_name", "mime_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("TIFF", "image/tiff")]
)
def test_a_page_photographed_sideways_stands_upright(tmp_path: Path, format_name: str, mime_type: str) -> None:
    page = Image.new("L", (200, 300), 255)
    page.paste(0, (0, 0, 40, 40))  # a dark corner, top left
    turned_by_exif = Image.Exif()
    turned_by_exif[0x0112] = 6  # "row 0 is the right-hand side"
    path = saved(tmp_path, hostile.picture(page.rotate(90, expand=True), format_name, exif=turned_by_exif))
    grey, _dpi = grey_page(path, mime_type, 1, max_pixels=BUDGET)
    assert grey.size == (200, 300)
    assert grey.getpixel((20, 20)) == pytest.approx(0, abs=8)
    assert grey.getpixel((180, 280)) == pytest.approx(255, abs=8)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_white_paper(tmp_path: Path, mode: str) -> None:
    page = Image.new("LA", (20, 20), (0, 0))  # black, and wholly transparent
    page.putpixel((5, 5), (0, 255))
    path = saved(tmp_path, hostile.picture(page.convert(mode), "PNG"))
    grey, _dpi = grey_page(path, "image/png", 1, max_pixels=BUDGET)
    assert (grey.getpixel((0, 0)), grey.getpixel((5, 5))) == (255, 0)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    page = Image.new("I;16", (20, 20), 65_535)
    page.putpixel((5, 5), 8_192)
    path = saved(tmp_path, hostile.picture(page, "TIFF"))
    grey, _dpi = grey_page(path, "image/tiff", 1, max_pixels=BUDGET)
    assert (grey.getpixel((0, 0)), grey.getpixel((5, 5))) == (255, 32)


def test_a_large_page_is_scaled_into_the_budget_with_its_resolution(tmp_path: Path) -> None:
    path = saved(tmp_path, hostile.picture(Image.new("1", (4_000, 4_000), 1), "PNG", dpi=(600, 600)))
    grey, dpi = grey_page(path, "image/png", 1, max_pixels=1_000_000)
    assert grey.size == (1_000, 1_000)
    assert dpi == pytest.approx(150, abs=0.1)


def test_each_page_of_a_tiff_is_its_own(tmp_path: Path) -> None:
    sheets = [Image.new("L", (20, 20), shade) for shade in (10, 200)]
    path = saved(tmp_path, hostile.picture(sheets[0], "TIFF", save_all=True, append_images=sheets[1:]))
    shades = [grey_page(path, "image/tiff", number, max_pixels=BUDGET)[0].getpixel((0, 0)) for number in (1, 2)]
    assert shades == [10, 200]
    with pytest.raises(RejectedFile, match="page 3"):
        grey_page(path, "image/tiff", 3, max_pixels=BUDGET)


def test_a_picture_is_scaled_to_the_resolution_asked_for_but_within_the_budget() -> None:
    page = Image.new("L", (1_700, 2_200), 255)
    assert at_dpi(page, 200, 100, max_pixels=BUDGET)[0].size == (850, 1_100)
    assert at_dpi(page, 200, 195, max_pixels=BUDGET) == (page, 200)  # so little is not worth its blur
    assert at_dpi(page, None, 100, max_pixels=BUDGET) == (page, None)
    large, dpi = at_dpi(page, 200, 800, max_pixels=BUDGET)
    assert large.width * large.height <= BUDGET
    assert dpi == pytest.approx(large.width / 8.5, rel=0.01)


@pytest.mark.parametrize(("size", "dpi"), [((2_480, 3_508), 300), ((1_700, 2_200), 200), ((60, 80), None)])
def test_a_picture_of_a_whole_page_gives_its_resolution_away(size: tuple[int, int], dpi: float | None) -> None:
    assert likely_dpi(Image.new("L", size)) == (None if dpi is None else pytest.approx(dpi, rel=0.05))


@pytest.mark.parametrize("degrees", [-8.0, -4.0, -1.5, -0.7, 0.0, 0.7, 1.5, 4.0, 8.0])
def test_the_skew_of_a_page_is_found(degrees: float) -> None:
    page = hostile.print_page("\n".join([hostile.PROSE] * 6))
    assert skew(page.rotate(-degrees, fillcolor=255)) == pytest.approx(degrees, abs=0.15)


def test_a_page_without_lines_has_no_skew() -> None:
    assert skew(Image.new("L", (850, 1100), 255)) == 0.0
    assert skew(Image.new("L", (3, 4_000), 0)) == 0.0


def test_the_pitch_of_the_lines_tells_small_print_and_nothing_of_a_page_on_its_side() -> None:
    page = hostile.print_page("\n".join([hostile.PROSE] * 8))
    pitch = line_pitch(page)
    assert pitch is not None
    assert 35 < pitch < 55  # 12 points at 200 dpi are 33 pixels, and there is room between the lines
    half = line_pitch(page.resize((page.width // 2, page.height // 2)))
    assert half == pytest.approx(pitch / 2, abs=3)
    assert line_pitch(page.rotate(90, expand=True)) is None
