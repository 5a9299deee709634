"""Every recognition engine reads the same words, in the same shape, and fails in the same ways."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import psutil
import pytest
from PIL import Image

from handlers.documents.ocr_engines import (
    OcrEngine,
    Orientation,
    Word,
    check_languages,
    ocr_engine,
    words_of_table,
)
from jobqueue.errors import ConfigError, LimitExceeded, Unavailable
from jobqueue.services.sandbox import ProcessSandbox
from tests.engine_support import wait_until
from tests.unit import hostile_files as hostile

PAGE = hostile.print_page(hostile.PROSE)


@pytest.fixture(
    params=[
        "tesseract",
        pytest.param(
            "tesserocr",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("tesserocr") is None, reason="there is no wheel of tesserocr for this machine"
            ),
        ),
    ]
)
def engine(request: pytest.FixtureRequest) -> OcrEngine:
    return ocr_engine(request.param)


def read(engine: OcrEngine, page: Image.Image, **options: float) -> list[Word]:
    timeout_s = options.get("timeout_s", 60.0)
    return engine.words(page, languages="eng", dpi=200, timeout_s=timeout_s)


def test_words_come_in_reading_order_with_their_places(engine: OcrEngine) -> None:
    words = read(engine, PAGE)
    assert [word.text for word in words] == hostile.PROSE.split()
    assert all(0.8 < word.confidence <= 1 for word in words)
    assert [word.line for word in words] == [1] * 5 + [2] * 5 + [3] * 6
    assert len({(word.block, word.paragraph) for word in words}) == 1
    for word in words:
        left, top, right, bottom = word.box
        assert 0 <= left < right <= PAGE.width
        assert 0 <= top < bottom <= PAGE.height


def test_the_box_of_a_word_holds_its_ink(engine: OcrEngine) -> None:
    first = read(engine, PAGE)[0]
    left, top, right, bottom = first.box
    outline = PAGE.crop((0, 0, right + 8, bottom + 8)).point(lambda value: 255 - value).getbbox()
    assert outline is not None
    assert (left, top) == pytest.approx(outline[:2], abs=4)


def test_nothing_of_one_page_is_left_for_the_next(engine: OcrEngine) -> None:
    first = read(engine, PAGE)
    assert read(engine, Image.new("L", PAGE.size, 255)) == []
    assert read(engine, PAGE) == first


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_the_turn_that_sets_a_sheet_upright_is_found(engine: OcrEngine, degrees: int) -> None:
    sheet = hostile.print_page("\n".join([hostile.PROSE] * 4)).rotate(degrees, expand=True)  # counter-clockwise
    found = engine.orientation(sheet, timeout_s=60)
    assert found is not None
    assert found.degrees == degrees
    assert found.confidence > 2


def test_a_sheet_without_letters_has_no_orientation(engine: OcrEngine) -> None:
    found = engine.orientation(Image.new("L", (600, 800), 255), timeout_s=60)
    assert found is None or found == Orientation(degrees=0, confidence=0.0)


def test_a_page_that_takes_too_long_is_refused_naming_the_limit(engine: OcrEngine) -> None:
    dense = hostile.print_page("\n".join([hostile.PROSE] * 15))
    with pytest.raises(LimitExceeded, match=r"longer than 0\.02 s"):
        read(engine, dense, timeout_s=0.02)
    assert read(engine, PAGE)  # and the next one is read


def test_the_language_data_are_the_system_s(engine: OcrEngine) -> None:
    assert {"eng", "osd"} <= engine.languages()


def test_a_worker_without_tesseract_says_what_to_install(
    engine: OcrEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="install tesseract-ocr"):
        read(engine, PAGE)


# ── the program's process ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where a tesseract that never comes to an end leaves its process id."""
    note, program = tmp_path / "pid", tmp_path / "tesseract"
    program.write_text(f"""#!/bin/sh
if [ "$1" = --list-langs ]; then printf 'List in "/data/" (1):\\neng\\n'; exit; fi
echo $$ >{note}.new && mv {note}.new {note}
exec sleep 60
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return note


def test_a_program_that_takes_too_long_is_killed(stuck: Path) -> None:
    with pytest.raises(LimitExceeded):
        read(ocr_engine("tesseract"), PAGE, timeout_s=0.5)
    assert not psutil.pid_exists(int(stuck.read_text()))


async def test_a_caller_that_gives_up_leaves_no_program_behind(stuck: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.tiff"
    page.write_bytes(hostile.multi_page_tiff())
    async with ProcessSandbox(processes=1) as sandbox:
        call = asyncio.create_task(
            sandbox.run(
                "handlers.documents.text:read_page", str(page), "image/tiff", 1,
                engine="pymupdf", languages="eng", ocr_engine="tesseract",
            )
        )  # fmt: skip
        await wait_until(stuck.exists, within_s=20)
        process = int(stuck.read_text())  # noqa: ASYNC240  # one line
        assert psutil.pid_exists(process)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await wait_until(lambda: not psutil.pid_exists(process))


# ── choice ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("installed", "chosen"), [(True, "TesseractLibrary"), (False, "TesseractProgram")])
def test_auto_is_the_fastest_that_is_installed(
    monkeypatch: pytest.MonkeyPatch, *, installed: bool, chosen: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object() if installed else None)
    assert type(ocr_engine("auto")).__name__ == chosen


def test_an_engine_that_is_not_there_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no ocr_engine 'abbyy'"):
        ocr_engine("abbyy")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="pip install tesserocr"):
        ocr_engine("tesserocr")


def test_a_missing_language_names_the_package_to_install() -> None:
    with pytest.raises(ConfigError, match="install tesseract-ocr-chi-sim tesseract-ocr-tlh"):
        check_languages("eng+chi_sim+tlh", {"eng", "osd"})


def test_a_word_with_a_rare_separator_in_it_stays_one_word() -> None:
    assert [word.text for word in words_of_table("5\t1\t1\t1\t1\t1\t3\t9\t6\t2\t96.1\ta\u2028b\n")] == ["a\u2028b"]
