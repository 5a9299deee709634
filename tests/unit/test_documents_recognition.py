"""Recognition is as cheap as the print allows, and tries again only where it read badly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from handlers.documents import recognition
from handlers.documents.ocr_engines import OcrEngine, Orientation, Word, ocr_engine
from handlers.documents.pose import Pose
from handlers.documents.recognition import Render, recognise
from jobqueue.errors import ConfigError, LimitExceeded, SandboxCrashed
from tests.unit import hostile_files as hostile

PAGE = hostile.print_page("\n".join([hostile.PROSE] * 4))


def still(page: Image.Image, dpi: float | None = 200) -> Render:
    """A page that is to be had in one resolution only."""
    return lambda _dpi: (page, dpi)


def words(text: str, confidence: float = 0.95) -> list[Word]:
    return [
        Word(text=word, confidence=confidence, box=(0, 0, 10, 10), block=1, paragraph=1, line=1)
        for word in text.split()
    ]


@dataclass
class ScriptedEngine:
    """Says what it is told to, and keeps what it was shown."""

    readings: Sequence[list[Word] | Exception]
    turn: Orientation | None = None
    installed: frozenset[str] = frozenset({"eng", "osd"})
    seen: list[tuple[tuple[int, int], str]] = field(default_factory=list)
    asked: int = 0

    def languages(self) -> frozenset[str]:
        return self.installed

    def words(self, image: Image.Image, *, languages: str, dpi: float | None, timeout_s: float) -> list[Word]:
        self.seen.append((image.size, languages))
        reading = self.readings[len(self.seen) - 1]
        if isinstance(reading, Exception):
            raise reading
        return reading

    def orientation(self, image: Image.Image, *, timeout_s: float) -> Orientation | None:
        self.asked += 1
        return self.turn


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return ocr_engine("auto")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_sheet_scanned_sideways_or_upside_down_is_read(engine: OcrEngine, degrees: int) -> None:
    page = PAGE.rotate(degrees, expand=True)
    found = recognise(still(page), engine=engine, languages="eng")
    assert found.text.split() == hostile.PROSE.split() * 4
    assert found.size == page.size


@pytest.mark.parametrize("degrees", [-8, 3])
def test_a_skewed_page_is_read_as_if_it_were_straight(engine: OcrEngine, degrees: int) -> None:
    page = PAGE.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=255)
    assert recognise(still(page), engine=engine, languages="eng").text.split() == hostile.PROSE.split() * 4


@pytest.mark.parametrize(("turn", "skew"), [(0, 5.0), (90, 0.0), (180, -3.0), (270, 2.0)])
def test_the_boxes_of_words_lie_where_the_words_are_on_the_page_as_it_was_given(turn: int, skew: float) -> None:
    upright = Image.new("L", (400, 300), 255)
    upright.paste(0, (100, 60, 140, 80))
    given = upright.rotate(-skew, fillcolor=255).rotate(turn, expand=True)  # counter-clockwise: to be turned back
    pose = Pose(size=given.size, turn=turn, skew=skew)
    assert pose.upright(given).point(lambda value: 255 - value).getbbox() == pytest.approx((100, 60, 140, 80), abs=3)
    inked = given.point(lambda value: 255 - value).getbbox()
    assert pose.on_page((100, 60, 140, 80)) == pytest.approx(inked, abs=4)


def test_a_page_read_well_is_read_once() -> None:
    engine = ScriptedEngine([words("Buyer shall deposit")])
    assert recognise(still(PAGE), engine=engine, languages="eng").text == "Buyer shall deposit"
    assert (len(engine.seen), engine.asked) == (1, 0)


def test_of_two_readings_the_better_is_kept() -> None:
    turned = Orientation(degrees=180, confidence=9.0)
    engine = ScriptedEngine([words("lleys 13hu8", 0.4), words("Buyer shall")], turned)
    assert recognise(still(PAGE), engine=engine, languages="eng").text == "Buyer shall"
    engine = ScriptedEngine([words("Buyer shall", 0.7), words("lleys 13hu8 ~", 0.4)], turned)
    assert recognise(still(PAGE), engine=engine, languages="eng").text == "Buyer shall"


def test_a_second_try_that_takes_too_long_leaves_the_first() -> None:
    engine = ScriptedEngine([words("Buyer", 0.5), LimitExceeded("slow")], Orientation(degrees=90, confidence=9.0))
    assert recognise(still(PAGE), engine=engine, languages="eng").text == "Buyer"


def test_small_print_is_looked_at_more_closely_than_ordinary_print() -> None:
    def asked(page: Image.Image, own_dpi: float | None) -> list[float]:
        wanted: list[float] = []

        def render(dpi: float) -> tuple[Image.Image, float]:
            wanted.append(dpi)
            return page, dpi

        recognise(render, engine=ScriptedEngine([words("Buyer")]), languages="eng", own_dpi=own_dpi)
        return wanted

    small = hostile.print_page("\n".join([hostile.PROSE] * 12), dpi=200).resize((566, 733)).crop((0, 0, 566, 500))
    sheet = Image.new("L", PAGE.size, 255)
    sheet.paste(small, (300, 300))
    assert asked(PAGE, None) == [200]
    assert asked(sheet, None) == [200, 300]
    assert asked(sheet, 300) == [200, 300]
    assert asked(sheet, 200) == [200]  # there is nothing to see beyond the scan's own resolution
    assert asked(PAGE, 150) == [150]
    assert asked(PAGE, 72) == [200]


def test_a_page_in_another_installed_language_is_read_in_that() -> None:
    german = (
        "Der Käufer zahlt den Preis und die Kosten der Übertragung die mit dem Kauf verbunden ist nicht eine auf das"
    )
    installed = frozenset({"deu", "eng", "osd"})
    engine = ScriptedEngine([words(german, 0.7), words(german + " für")], installed=installed)
    assert recognise(still(PAGE), engine=engine, languages="auto").text == german + " für"
    assert [languages for _, languages in engine.seen] == ["eng", "deu"]
    engine = ScriptedEngine([words(german, 0.85)], installed=installed)
    recognise(still(PAGE), engine=engine, languages="eng")
    assert [languages for _, languages in engine.seen] == ["eng"]  # as the setting says


def test_nothing_is_recognised_on_blank_or_tiny_pictures(engine: OcrEngine) -> None:
    for size in ((600, 800), (3, 3), (4_000, 17)):
        seen = recognise(still(Image.new("L", size, 255), None), engine=engine, languages="eng")
        assert (seen.text, seen.confidence, seen.blank) == ("", 0.0, True)


def test_a_language_without_data_is_a_wrong_setting(engine: OcrEngine) -> None:
    with pytest.raises(ConfigError, match=r"ocr_languages is 'eng\+tlh'.*install tesseract-ocr-tlh"):
        recognise(still(PAGE), engine=engine, languages="eng+tlh")


def test_a_page_that_takes_too_long_is_refused_naming_the_limit(
    engine: OcrEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "TIMEOUT_S", 0.01)
    with pytest.raises(LimitExceeded, match="recognising the page took longer than"):
        recognise(still(PAGE), engine=engine, languages="eng")


def test_a_tesseract_that_was_killed_is_worth_another_try(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "tesseract"
    program.write_text("""#!/bin/sh
case "$1" in --list-langs) printf 'List in "/data/" (1):\\neng\\n' ;; *) kill -9 $$ ;; esac
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SandboxCrashed, match="signal 9"):
        recognise(still(PAGE), engine=ocr_engine("tesseract"), languages="eng")


def test_the_program_is_given_one_thread_whatever_the_worker_s_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "tesseract"
    program.write_text("""#!/bin/sh
cat >/dev/null
printf '5\\t1\\t1\\t1\\t1\\t1\\t0\\t0\\t9\\t9\\t95\\tthreads:%s\\n' "$OMP_THREAD_LIMIT"
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("OMP_THREAD_LIMIT", "8")
    found = ocr_engine("tesseract").words(PAGE, languages="eng", dpi=None, timeout_s=20)
    assert [word.text for word in found] == ["threads:1"]
