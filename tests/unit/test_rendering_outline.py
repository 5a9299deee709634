"""What a report says, apart from how it is laid out."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.rendering.bidi import starts_rtl, visual, wrap
from handlers.rendering.blocks import Callout, Outline, Paragraph, Table
from handlers.rendering.outline import MAX_ROWS, build_outline, read_report
from handlers.rendering.text import clean
from jobqueue.errors import InvalidInput
from jobqueue.tasks import Analysis, Extraction, PageSource, PageText, Summary
from tests.unit.rendering_support import fact, hostile_report, make_report, plain


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _strings(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _strings(getattr(value, field.name))


def _rows(outline: Outline, heading: str) -> list[tuple[str, ...]]:
    section = next(section for section in outline.sections if section.heading == heading)
    return [row for block in section.blocks if isinstance(block, Table) for row in block.rows]


def test_every_fact_stands_in_exactly_one_table() -> None:
    outline = build_outline(make_report())
    rows = [row for name in ("Key terms", "Parties", "Dates") for row in _rows(outline, name)]
    assert len(rows) == len(make_report().extraction.facts)
    assert _rows(outline, "Key terms")[1][:4] == ("Purchase price", "425,000.00 USD", "2", "95%")


def test_dates_are_sorted_and_in_words() -> None:
    assert [row[:3] for row in _rows(build_outline(make_report()), "Dates")] == [
        ("2024-03-01", "Friday, March 1, 2024", "Agreement date"),
        ("2024-03-20", "Wednesday, March 20, 2024", "Inspection deadline"),
        ("2024-04-15", "Monday, April 15, 2024", "Closing date"),
    ]


def test_a_date_that_is_no_calendar_day_is_a_key_term() -> None:
    facts = [fact("closing_date", "30 days after signing"), fact("unheard_of_kind", "something")]
    outline = build_outline(make_report(extraction=Extraction(document_class="lease", class_confidence=1, facts=facts)))
    assert [row[:2] for row in _rows(outline, "Key terms")] == [
        ("Closing date", "30 days after signing"),
        ("Unheard of kind", "something"),
    ]


def test_findings_come_worst_first() -> None:
    section = next(s for s in build_outline(make_report()).sections if s.heading == "Findings")
    labels = [block.label for block in section.blocks if isinstance(block, Callout)]
    assert labels == ["High severity · page 4", "Medium severity", "For information"]


def test_neighbouring_pages_read_alike_share_a_row() -> None:
    assert _rows(build_outline(make_report()), "How each page was read") == [
        ("1–2", "Text layer of the file", "4,000", "100%"),
        ("3", "Optical character recognition", "1,700", "87%"),
        ("4", "Optical character recognition", "1,650", "91%"),
        ("5", "No text found", "0", "–"),
    ]


def test_sections_without_content_say_so() -> None:
    empty = make_report(
        extraction=Extraction(document_class="other", class_confidence=0, facts=[]),
        summary=Summary(text="", key_points=[]),
        analysis=Analysis(clauses=[], findings=[]),
        usage=[],
    )
    for section in build_outline(empty).sections[:6]:
        assert len(section.blocks) == 1, section.heading
        assert isinstance(section.blocks[0], Paragraph)


def test_rows_past_the_bound_are_counted_not_shown() -> None:
    facts = [fact("buyer", f"Buyer {i}") for i in range(MAX_ROWS + 7)]
    outline = build_outline(make_report(extraction=Extraction(document_class="lease", class_confidence=1, facts=facts)))
    assert len(_rows(outline, "Parties")) == MAX_ROWS
    assert "7 more are not shown here." in list(_strings(outline))


def test_every_page_of_the_longest_file_is_listed() -> None:
    pages = [
        PageText(number=i, text="x", source=PageSource.OCR, confidence=0.5 + 0.4 * (i % 2)) for i in range(1, 2_001)
    ]
    rows = _rows(build_outline(make_report(pages=pages)), "How each page was read")
    assert [row[0] for row in rows] == [f"{i:,}" for i in range(1, 2_001)]


def test_nothing_hostile_is_left_in_an_outline() -> None:
    for text in _strings(build_outline(hostile_report())):
        assert len(text) <= 4_100
        assert not {unicodedata.category(c) for c in text} & {"Cc", "Cs"}, text
        assert not set(text) & {"\u202e", "\u2066", "\ufeff", "\ufffe", "\uffff"}, text


@given(st.text(), st.integers(min_value=1, max_value=80))
def test_cleaning_is_bounded_and_does_nothing_the_second_time(text: str, limit: int) -> None:
    once = clean(text, limit)
    assert len(once) <= limit
    assert clean(once, limit) == once


def test_towers_of_marks_are_cut_down() -> None:
    assert clean("Z" + "\u0301" * 3_000 + "!", 5_000) == unicodedata.normalize("NFC", "Z" + "\u0301" * 4 + "!")


def test_something_else_than_a_report_is_refused_by_field() -> None:
    data = plain(make_report())
    data["document"]["pages"] = "many"
    with pytest.raises(InvalidInput, match=r"document\.pages"):
        read_report(data)


@pytest.mark.parametrize(
    ("logical", "shown"),
    [
        ("Main Street 12", "Main Street 12"),
        ("Seller: לוי 12", "Seller: 12 יול"),
        ("לוי (חיפה) 12", "12 (הפיח) יול"),
        ("לוי, 1,250.00 USD", "USD 1,250.00 ,יול"),
        ("بيت", "\ufe96\ufef4\ufe91"),  # initial, medial and final form, the first letter last
        ("لا", "\ufefb"),  # the obligatory ligature
        ("دب", "بد"),  # a letter that doesn't reach out leaves the next one alone
    ],
)
def test_right_to_left_text_is_put_in_display_order(logical: str, shown: str) -> None:
    assert visual(logical, rtl=starts_rtl(logical)) == shown


@given(st.text(alphabet="ab אב1,(").map(lambda text: " ".join(text.split())), st.integers(min_value=1, max_value=9))
def test_wrapping_keeps_every_letter_and_every_line_fits(text: str, width: int) -> None:
    lines = wrap(text, width, len)
    assert all(len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(st.text(alphabet="ab אב1,.(\u0301\u0628\u0644\u0627"), st.booleans())
def test_reordering_loses_no_character(text: str, rtl: bool) -> None:
    back = unicodedata.normalize("NFKD", visual(text, rtl=rtl))
    mirrored = str.maketrans("()", "((")
    assert sorted(back.translate(mirrored)) == sorted(unicodedata.normalize("NFKD", text).translate(mirrored))
