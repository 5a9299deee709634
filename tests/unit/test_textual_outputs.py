"""A document's text as plain text, JSON, Markdown, hOCR and ALTO."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from lxml import etree
from markdown_it import MarkdownIt

from handlers.rendering.textual import alto, hocr, markdown, pages_json, plain
from jobqueue.errors import InvalidInput
from jobqueue.tasks import PageMark, PageSource, PageText, pack_words
from tests.unit.textual_support import LETTER_200, layer_page, page_of, stored, word

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'so' ]]> \x00\x0b\ufffe 😀"
HTML = "{http://www.w3.org/1999/xhtml}"
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"

# What ALTO 4.2 lets stand in what, in that order, and what each must have.
ALTO_CHILDREN = {
    "alto": ["Description", "Layout"],
    "Description": ["MeasurementUnit", "Processing"],
    "MeasurementUnit": [],
    "Processing": ["processingSoftware"],
    "processingSoftware": ["softwareName"],
    "softwareName": [],
    "Layout": ["Page"],
    "Page": ["PrintSpace"],
    "PrintSpace": ["TextBlock"],
    "TextBlock": ["TextLine"],
    "TextLine": ["String", "SP"],
    "String": [],
    "SP": [],
}
ALTO_DEMANDS = {"Page": {"ID", "PHYSICAL_IMG_NR"}, "TextBlock": {"ID"}, "String": {"CONTENT"}, "Processing": {"ID"}}
ALTO_PLACE = {"HPOS", "VPOS", "WIDTH", "HEIGHT"}


@pytest.fixture
def text(tmp_path: Path) -> str:
    """Three pages: recognised; of a text layer, and hostile; a layer with a recognised stamp in its middle; empty."""
    both = PageText(
        number=3, text="Before\nSTAMP\nafter", source=PageSource.BOTH, confidence=0.9, width_px=100, height_px=50,
        word_table=pack_words([word("STAMP", 7, (10, 20, 40, 30))]),
    )  # fmt: skip
    empty = PageText(number=4, text="", source=PageSource.EMPTY, confidence=0.0)
    return stored(
        tmp_path, page_of(1, LETTER_200, "Deed of <trust>", "second line"), layer_page(2, HOSTILE), both, empty
    )


def test_plain_text_has_a_form_feed_between_pages(text: str, tmp_path: Path) -> None:
    plain.write_txt(text, str(tmp_path / "out"))
    pages = (tmp_path / "out").read_bytes().decode().split("\f")
    assert len(pages) == 4
    assert pages[0] == "Deed of <trust>\nsecond line\n"
    assert pages[3] == "\n"


def test_json_tells_each_word_s_place_in_the_text_and_on_the_page(text: str, tmp_path: Path) -> None:
    pages_json.write_json(text, str(tmp_path / "out"))
    first, second, *_ = json.loads((tmp_path / "out").read_bytes())["pages"]
    assert (first["number"], first["source"], first["width"], first["height"]) == (1, "ocr", *LETTER_200)
    assert first["words"][1] == {
        "text": "of", "start": 5, "confidence": 0.9, "box": [350, 200, 410, 240], "block": 1, "line": 1,
    }  # fmt: skip
    for one in first["words"]:
        assert first["text"][one["start"] :].startswith(one["text"])
    assert (second["width"], second["words"], second["text"]) == (None, [], HOSTILE)


def test_json_tells_the_marks_of_a_page(tmp_path: Path) -> None:
    mark = PageMark(
        kind="checkbox", checked=None, label="As is", left=1, top=2, right=3, bottom=4, source="drawn"
    )  # fmt: skip
    text = stored(tmp_path, page_of(1, LETTER_200, "As is").model_copy(update={"marks": [mark]}))
    pages_json.write_json(text, str(tmp_path / "out"))
    (page,) = json.loads((tmp_path / "out").read_bytes())["pages"]
    assert page["marks"] == [
        {"kind": "checkbox", "checked": None, "filled": None, "label": "As is", "source": "drawn", "box": [1, 2, 3, 4]}
    ]


class _Shown(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def _rendered(text: str, directory: Path) -> _Shown:
    markdown.write_md(stored(directory, layer_page(1, text)), str(directory / "out"))
    shown = _Shown()
    shown.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render((directory / "out").read_text()))
    return shown


@pytest.mark.parametrize(
    "line",
    [
        "# Deed", "1. First", "12) item", "- item", "+ item", "* item", "> quote", "---", "===", "***", "___", "```",
        "~~~", "    indented", "<b>bold</b>", "<!-- gone -->", "&copy; &#42;", "*a* _b_ **c** `d` ~~e~~", "[a](http://b)",
        "![a](b.png)", "[a]: http://b", "<http://a.example>", "a\\*b", "| a | b |", "$x$", "trailing\\", "#", "-", "1.",
    ],
)  # fmt: skip
def test_text_that_looks_like_markup_is_shown_as_text_in_markdown(line: str, tmp_path: Path) -> None:
    for content in (line, f"before\n{line}", f"before\n{line}\nafter"):
        shown = _rendered(content, tmp_path)
        assert set(shown.tags) <= {"p", "br"}, shown.tags
        assert shown.text.split() == content.split()


def test_markdown_keeps_paragraphs_and_lines_and_marks_pages(text: str, tmp_path: Path) -> None:
    shown = _rendered("one\ntwo\n\nthree", tmp_path)
    assert shown.tags == ["p", "br", "p"]
    page = stored(tmp_path, layer_page(1, "one"), layer_page(2, "two"))
    markdown.write_md(page, str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "one\n\n---\n\ntwo\n"


def test_rows_of_as_many_tabs_are_a_table_in_markdown(tmp_path: Path) -> None:
    shown = _rendered("Terms\n\nItem\tPrice\nRoof | porch\t$5\nSum\t$5", tmp_path)
    assert (shown.tags.count("table"), shown.tags.count("tr"), shown.tags.count("th")) == (1, 3, 2)
    assert "Roof | porch" in shown.text
    assert "table" not in _rendered("one\ttab only", tmp_path).tags


def test_hocr_is_well_formed_and_holds_every_word_in_its_boxes(text: str, tmp_path: Path) -> None:
    hocr.write_hocr(text, str(tmp_path / "out"))
    root = etree.parse(str(tmp_path / "out")).getroot()
    assert root.tag == f"{HTML}html"
    pages = root.findall(f".//{HTML}div[@class='ocr_page']")
    assert [page.get("title") for page in pages] == [
        "bbox 0 0 1700 2200; ppageno 0", "bbox 0 0 0 0; ppageno 1", "bbox 0 0 100 50; ppageno 2",
        "bbox 0 0 0 0; ppageno 3",
    ]  # fmt: skip
    words = pages[0].findall(f"{HTML}div[@class='ocr_carea']/{HTML}span[@class='ocr_line']/{HTML}span")
    assert [one.text for one in words] == ["Deed", "of", "<trust>", "second", "line"]
    assert {one.get("class") for one in words} == {"ocrx_word"}
    assert words[1].get("title") == "bbox 350 200 410 240; x_wconf 90"
    lines = pages[0].findall(f".//{HTML}span[@class='ocr_line']")
    assert lines[0].get("title") == "bbox 200 200 650 240"
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_hocr_loses_no_text_without_a_place_and_no_markup_of_the_text_is_live(text: str, tmp_path: Path) -> None:
    hocr.write_hocr(text, str(tmp_path / "out"))
    root = etree.parse(str(tmp_path / "out")).getroot()
    assert root.find(f".//{HTML}script") is None
    pages = root.findall(f".//{HTML}div[@class='ocr_page']")
    assert "".join(map(str, pages[1].itertext())).split() == [
        "<script>alert(1)</script>",
        "&",
        '"quoted"',
        "'so'",
        "]]>",
        "😀",
    ]
    assert "".join(map(str, pages[2].itertext())).split() == ["Before", "STAMP", "after"]


def test_alto_has_the_structure_of_version_4(text: str, tmp_path: Path) -> None:
    alto.write_alto(text, str(tmp_path / "out"))
    root = etree.parse(str(tmp_path / "out")).getroot()
    ids = []
    for element in root.iter():
        name = etree.QName(element).localname
        children = [etree.QName(child).localname for child in element]
        assert element.tag == ALTO + name
        assert children == sorted(children, key=ALTO_CHILDREN[name].index) or name == "TextLine"
        assert ALTO_DEMANDS.get(name, set()) <= set(element.keys())
        assert not ALTO_PLACE & set(element.keys()) or {"WIDTH", "HEIGHT"} <= set(element.keys())
        ids += [element.get("ID")] if element.get("ID") else []
    assert len(ids) == len(set(ids))
    for line in root.iter(f"{ALTO}TextLine"):
        names = [etree.QName(child).localname for child in line]
        assert names == (["String", "SP"] * len(names))[: len(names)]
        assert names[-1:] == ["String"]


def test_alto_holds_every_word_with_its_place_and_all_other_text_without(text: str, tmp_path: Path) -> None:
    alto.write_alto(text, str(tmp_path / "out"))
    pages = etree.parse(str(tmp_path / "out")).getroot().findall(f".//{ALTO}Page")
    first = pages[0].findall(f".//{ALTO}String")
    assert [one.get("CONTENT") for one in first] == ["Deed", "of", "<trust>", "second", "line"]
    assert {name: first[1].get(name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT", "WC")} == {
        "HPOS": "350", "VPOS": "200", "WIDTH": "60", "HEIGHT": "40", "WC": "0.9",
    }  # fmt: skip
    assert pages[1].findall(f".//{ALTO}String")[0].get("CONTENT") == "<script>alert(1)</script>"
    third = pages[2].findall(f".//{ALTO}String")
    assert [(one.get("CONTENT"), one.get("HPOS")) for one in third] == [
        ("Before", None),
        ("STAMP", "10"),
        ("after", None),
    ]
    assert not pages[3].findall(f".//{ALTO}String")


def test_a_stored_text_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("[]")
    with pytest.raises(InvalidInput, match="run ocr_document again"):
        plain.write_txt(str(tmp_path / "text.json"), str(tmp_path / "out"))
