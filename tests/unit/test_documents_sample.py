"""The sample can be tried, and read to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.documents.inspect import inspect
from handlers.documents.sample import render_sample
from handlers.documents.sample_text import AGREEMENT, FACTS
from handlers.documents.text import read_page


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "agreement.pdf"
    render_sample(str(path))
    return path


def test_the_same_seed_gives_the_same_bytes_another_seed_others(sample: Path, tmp_path: Path) -> None:
    for seed, same in ((7, True), (8, False)):
        again = tmp_path / f"{seed}.pdf"
        render_sample(str(again), seed=seed)
        assert (again.read_bytes() == sample.read_bytes()) is same


def test_the_sample_is_an_acceptable_scan_of_three_pages_or_more(sample: Path) -> None:
    info = inspect(str(sample), "agreement.pdf", max_bytes=3_000_000, max_pages=10, engine="pypdfium2")
    assert info["pages"] >= 3
    assert info["warnings"] == []


def test_recognition_recovers_parties_address_price_and_dates_exactly(sample: Path) -> None:
    pages = [
        read_page(str(sample), "application/pdf", number, engine="pypdfium2", languages="eng") for number in (1, 2, 3)
    ]
    assert {page["source"] for page in pages} == {"ocr"}
    assert min(page["confidence"] for page in pages) > 0.9
    seen = " ".join(" ".join(page["text"] for page in pages).split())
    assert [kind for kind, value in FACTS.items() if value not in seen] == []


def test_every_fact_stands_in_the_agreement() -> None:
    assert [kind for kind, value in FACTS.items() if value not in AGREEMENT] == []
