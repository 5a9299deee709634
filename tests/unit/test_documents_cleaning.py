"""Strings that come out of files are safe to store and to show."""

from __future__ import annotations

import unicodedata

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from handlers.documents import plain
from handlers.documents.cleaning import clean_line, clean_text, iso_date

anything = st.text(st.characters(codec=None, exclude_categories=[]))


@given(anything)
def test_cleaned_text_can_be_stored_and_cleaning_again_changes_nothing(text: str) -> None:
    clean = clean_text(text)
    assert msgpack.unpackb(msgpack.packb(clean)) == clean
    assert clean_text(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert not any(unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t" for c in clean)
    assert all(line == line.rstrip(" \t\xa0") for line in clean.split("\n"))


@given(anything, st.integers(1, 50))
def test_a_cleaned_line_is_one_bounded_printable_line(text: str, max_chars: int) -> None:
    line = clean_line(text, max_chars=max_chars)
    assert len(line) <= max_chars
    assert line.isprintable()
    msgpack.packb(line)


@given(anything)
def test_a_broken_date_is_no_error(text: str) -> None:
    assert iso_date(text).isprintable()
    assert iso_date(f"D:{text}").isprintable()


def test_words_keep_their_letters_paragraphs_their_blank_lines() -> None:
    assert clean_text("Oﬃce  \r\n\r\nCafe\u0301\x00\x0cEnd \ud800") == "Office\n\nCafé\nEnd \ufffd"


def test_dates_beyond_the_calendar_stay_as_they_are() -> None:
    assert iso_date("D:20251345") == "D:20251345"
    assert iso_date("D:20250101000000+99'99'") == "D:20250101000000+99'99'"
    assert iso_date("D:20250101000000Z") == "2025-01-01T00:00:00+00:00"


@given(st.binary(max_size=200))
def test_decoding_any_bytes_gives_text_without_control_characters_or_nothing(data: bytes) -> None:
    text = plain.decode(data)
    assert text is None or not set(text) & {chr(code) for code in range(32) if chr(code) not in "\t\n\r\x0c"}


@given(st.text(st.characters(codec="utf-16", exclude_categories=["Cc", "Cs"])))
def test_unicode_text_is_decoded_as_it_was_written(text: str) -> None:
    assert plain.decode(text.encode("utf-8-sig")) == text
    assert plain.decode(text.encode("utf-16")) == text
