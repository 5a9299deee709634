"""The reading order of a text layer, and the places of its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas

from handlers.documents.engines import ENGINES, Layer
from handlers.documents.hyphens import made_whole
from handlers.documents.layer import MAX_WORDS, placed
from handlers.documents.layout import arranged
from handlers.documents.text import read_page
from jobqueue.tasks import PageSource, PageText, PageWord, pack_words
from tests.unit import hostile_files as hostile
from tests.unit import layer_files as layers

Read = Callable[..., PageText]


@pytest.fixture(params=list(ENGINES))
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Read:
    def call(data: bytes, number: int = 1) -> PageText:
        path = tmp_path / "file.pdf"
        path.write_bytes(data)
        found = read_page(str(path), "application/pdf", number, engine=request.param, languages="eng")
        page = PageText.model_validate(found)
        check_words(page)
        return page

    return call


def check_words(page: PageText) -> None:
    """Every word is a slice of the text, stands on the page, and the words are the whole text."""
    words = list(page.words)
    assert [page.text[word.start : word.start + len(word.text)] for word in words] == [word.text for word in words]
    assert "".join(word.text for word in words) == "".join(page.text.split())
    for word in words:
        assert 0 <= word.left < word.right <= page.width_px
        assert 0 <= word.top < word.bottom <= page.height_px
        assert word.confidence == 1.0


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_word_s_box_is_in_half_points_from_the_top_left(read: Read) -> None:
    page = read(layers.at_places((72, 700, "Purchase price"), (72, 400, "in full at closing")))
    assert (page.width_px, page.height_px) == (1224, 1584)
    price = list(page.words)[1]
    assert price.left == pytest.approx(2 * (72 + 40.5), abs=6)
    assert price.top < 2 * (792 - 700) < price.bottom
    assert 12 < price.bottom - price.top < 30


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_boxes_lie_on_the_page_as_it_is_shown(read: Read, turned: int) -> None:
    page = read(layers.drawn(lambda canvas: canvas.drawString(100, 500, "Cornerstone and more words"), turned=turned))
    word = next(page.words)
    across, down = (1224, 1584) if turned % 180 == 0 else (1584, 1224)  # of the sheet before it is turned
    x, y = 2 * 100, down - 2 * 500
    places = {0: (x, y), 90: (down - y, x), 180: (across - x, down - y), 270: (y, across - x)}
    left, top = places[turned]
    assert min(abs(word.left - left), abs(word.right - left)) <= 8
    assert min(abs(word.top - top), abs(word.bottom - top)) <= 8
    lies = word.right - word.left > word.bottom - word.top
    assert lies == (turned % 180 == 0)


def test_lines_and_blocks_are_numbered(read: Read) -> None:
    page = read(
        layers.at_places((72, 700, "The buyer pays"), (72, 688, "the seller sells"), (72, 500, "Both of them sign"))
    )
    assert [(word.block, word.line) for word in page.words] == [(0, 0)] * 3 + [(0, 1)] * 3 + [(1, 0)] * 4


def test_words_that_reach_over_the_edge_end_at_it(read: Read) -> None:
    page = read(layers.at_places((590, 700, "overhanging"), (-10, 500, "underhanging words of a page")))
    assert {word.right for word in page.words} & {page.width_px}


@pytest.mark.parametrize(
    "data",
    [
        hostile.text_pdf(["The ﬁrst buyer\u00a0signs: Käufer, año, Ελλάδα"]),
        hostile.form_pdf(),
        hostile.poster_pdf(),
    ],
    ids=["letters", "form", "poster"],
)
def test_words_point_into_the_text_of_odd_pages(read: Read, data: bytes) -> None:
    read(data)


words_of_a_file = st.lists(
    st.tuples(
        *[st.floats(width=32) | st.floats(-100, 1000)] * 4,
        st.text(st.characters(codec="utf-8", exclude_categories=["Zs", "Zl", "Zp"]), min_size=1, max_size=8),
        st.integers(0, 3),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    max_size=30,
)


@given(words_of_a_file, st.sampled_from([" ", "\n", "  ", "-\n", "\u00ad\n"]), st.floats(0.1, 14_400))
def test_whatever_an_engine_gives_words_are_slices_within_the_page(
    words: list[tuple[float, float, float, float, str, int, int, int]], between: str, side: float
) -> None:
    turned = [(min(a, c), min(b, d), max(a, c), max(b, d), *rest) for a, b, c, d, *rest in words]
    layer = Layer(text=between.join(word[4] for word in words), words=turned, width_pt=side, height_pt=side)  # type: ignore[arg-type]  # mypy loses the rest of the tuple
    found = placed(layer)
    table = pack_words(found.words)
    assert found.words.table == table
    page = PageText(number=1, text=found.text, source=PageSource.TEXT, confidence=1.0, word_table=table)
    for word, kept in zip(found.words, page.words, strict=True):
        assert word == kept
        assert word.text == found.text[word.start : word.start + len(word.text)]
        assert 0 <= word.left < word.right <= found.size[0]
        assert 0 <= word.top < word.bottom <= found.size[1]


def test_no_page_has_more_words_with_places_than_an_answer_can_carry() -> None:
    words = [(1.0, 1.0, 2.0, 2.0, "a", 0, 0, 0)] * (MAX_WORDS + 1)
    found = placed(Layer(text=" ".join("a" for _ in words), words=words, width_pt=9, height_pt=9))
    assert len(list(found.words)) == MAX_WORDS
    assert len(found.text) == 2 * MAX_WORDS + 1


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_page_of_plain_lines_stays_exactly_as_it_was(read: Read) -> None:
    lines = layers.column_lines(1, 40, 460)[0]
    assert read(layers.at_places(*((72, 720 - 14 * row, line) for row, line in enumerate(lines)))).text == "\n".join(
        lines
    )


def test_a_file_s_own_order_of_plain_lines_stands(read: Read) -> None:
    page = read(layers.at_places((72, 60, "Page 3 of the agreement"), (72, 700, "The buyer pays the price.")))
    assert page.text == "Page 3 of the agreement\nThe buyer pays the price."


@pytest.mark.parametrize("lag", [0.0, 5.0, 6.0])
@pytest.mark.parametrize("columns", [2, 3])
def test_columns_are_read_one_after_the_other_below_the_heading(read: Read, columns: int, lag: float) -> None:
    width = 510 / columns - 20
    lines = layers.column_lines(columns, 12, width)
    page = read(layers.columns_pdf(lines, pitch=12, across=510 / columns, lag=lag))
    assert page.text.split("\n") == [layers.HEADING, *(line for column in lines for line in column), layers.CLOSING]
    blocks = [word.block for word in page.words]
    assert blocks == sorted(blocks)
    assert blocks[-1] >= columns + 1


@pytest.mark.parametrize("by_column", [True, False])
def test_a_table_s_row_is_one_line_with_tabs_between_its_cells(read: Read, by_column: bool) -> None:
    page = read(layers.table_pdf(layers.TABLE, by_column=by_column))
    assert page.text.split("\n")[1:-1] == ["\t".join(row) for row in layers.TABLE]
    assert page.text.endswith("\nAll repairs are made by licensed contractors.")


def test_the_parts_of_a_form_s_line_are_one_line(read: Read) -> None:
    page = read(
        layers.at_places(
            (50, 700, "Seller: ____________"), (300, 700, "Date: ________"), (50, 670, "Buyer: ______  Date: ______")
        )
    )
    first, second = page.text.split("\n")
    assert first == "Seller: ____________\tDate: ________"
    assert second.split() == ["Buyer:", "______", "Date:", "______"]
    assert {word.line for word in page.words if word.text in {"Seller:", "________"}} == {0}


@pytest.mark.parametrize("numbers_last", [True, False])
def test_line_numbers_in_the_margin_stay_out_of_the_sentences(read: Read, *, numbers_last: bool) -> None:
    lines = layers.column_lines(1, 28, 440)[0]
    body = [(90.0, 700.0 - 24 * row, line) for row, line in enumerate(lines)]
    numbers = [(60.0, 700.0 - 24 * row, str(row + 1)) for row in range(28)]
    drawn = body + numbers if numbers_last else [part for row in zip(numbers, body, strict=True) for part in row]
    counted = [str(number) for number in range(1, 29)]
    assert read(layers.at_places(*drawn)).text.split("\n") == counted + lines


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_columns_on_a_sheet_turned_on_its_side_stay_as_the_file_has_them(read: Read, turned: int) -> None:
    def draw(canvas: Canvas) -> None:
        for row in range(8):
            for x in (50, 320):
                canvas.drawString(x, 500 - 12 * row, f"line {row} of the column at {x}")

    page = read(layers.drawn(draw, turned=turned))
    numbers = [int(line) for line in re.findall(r"line (\d)", page.text)]
    assert numbers == [row for row in range(8) for _ in range(2)]


def test_text_that_lies_on_text_stays_as_the_file_has_it() -> None:
    words = [
        PageWord("____________", 0, 1.0, 50, 10, 300, 30, 0, 0),
        PageWord("Vossberry", 13, 1.0, 60, 9, 160, 29, 1, 0),
        PageWord("Date", 23, 1.0, 400, 10, 440, 30, 2, 0),
    ]
    text = " ".join(word.text for word in words)
    assert arranged(text, words) == (text, words)


def test_text_without_a_place_is_not_lost() -> None:
    words = [PageWord("Price", 0, 1.0, 10, 10, 60, 30, 0, 0), PageWord("$9", 13, 1.0, 300, 10, 320, 30, 1, 0)]
    assert arranged("Price\nunseen\n$9", words)[0] == "Price\nunseen\n$9"


# ── divided words ────────────────────────────────────────────────────────────────────────────────────────────────


def words_in(text: str) -> list[PageWord]:
    return [
        PageWord(match[0], match.start(), 1.0, match.start(), 0, match.end(), 9, 0, text.count("\n", 0, match.start()))
        for match in re.finditer(r"\S+", text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a contin-\ngency, no contingency", "a contingency,\nno contingency"),
        ("a contin-\ngency and more", "a contin-\ngency and more"),  # nothing says that it is one word
        ("non-\nrefundable, a refundable", "non-\nrefundable, a refundable"),
        ("co-\nowner, coowner or co-owner", "co-\nowner, coowner or co-owner"),  # both are written
        ("a contin\u00ad\ngency and", "a contingency\nand"),
        ("Smith-\nJones, SmithJones", "Smith-\nJones, SmithJones"),
        ("pages 1-\n2", "pages 1-\n2"),
        ("gency-\ngency\ngencygency", "gencygency\ngencygency"),
    ],
)
def test_a_divided_word_is_made_whole_where_that_is_safe(text: str, expected: str) -> None:
    whole, words = made_whole(text, words_in(text))
    assert whole == expected
    assert [word.text for word in words] == expected.split()
    assert [word.start for word in words] == [word.start for word in words_in(expected)]


def test_a_word_made_whole_has_the_box_of_its_first_part(read: Read) -> None:
    page = read(hostile.text_pdf(["subject to the financing contin-\ngency, and no contingency else"]))
    assert page.text == "subject to the financing contingency,\nand no contingency else"
    word = list(page.words)[4]
    assert (word.text, word.line) == ("contingency,", 0)
    assert word.top < list(page.words)[5].top


@given(st.lists(st.sampled_from(["ab", "cd", "abcd", "ab-", "ab\u00ad", "-", " ", "\n", "Cd", ","])).map("".join))
def test_making_words_whole_takes_out_nothing_but_hyphens_and_line_ends(text: str) -> None:
    whole, words = made_whole(text, words_in(text))
    assert re.sub(r"[\s\u00ad-]", "", whole) == re.sub(r"[\s\u00ad-]", "", text)
    assert [whole[word.start : word.start + len(word.text)] for word in words] == [word.text for word in words]
    assert "".join(word.text for word in words) == "".join(whole.split())
