"""Searchable PDFs: invisible text lies where the words are, whatever the page's shape, turn and kind."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from PIL import Image, ImageChops
from reportlab.pdfgen.canvas import Canvas

from handlers.documents.engines import open_pdf
from handlers.rendering.paged.archive import write_pdfa
from handlers.rendering.paged.invisible import turn_of
from handlers.rendering.paged.searchable import write_searchable
from jobqueue.errors import InvalidInput
from jobqueue.tasks import PageSource, PageText, PageWord, pack_words
from tests.unit.textual_support import LETTER_200, layer_page, page_of, scan_of, scanned_pdf, stored, word

pymupdf: Any = importlib.import_module("pymupdf")  # it is typed in part only

PDF = "application/pdf"
TOLERANCE_PT = 0.6
LINES = ("Deed of trust", "between José & Łukasz")


def _found(path: Path, number: int = 1) -> list[tuple[float, float, float, float, str]]:
    """The words of a page of the output, with their boxes in points of the page as it is seen."""
    with pymupdf.open(path) as document:
        page = document[number - 1]
        return [
            (*pymupdf.Rect(item[:4]) * page.rotation_matrix, str(item[4]))
            for item in page.get_text("words", sort=False)
        ]


def _assert_over(page: PageText, path: Path, number: int = 1) -> None:
    """Every word of the page is found in its box, and nothing else is."""
    with pymupdf.open(path) as document:
        rect = document[number - 1].rect
    across, down = rect.width / page.width_px, rect.height / page.height_px
    found = _found(path, number)
    assert [item[4] for item in found] == [one.text for one in page.words]
    for item, one in zip(found, page.words, strict=True):
        box = (one.left * across, one.top * down, one.right * across, one.bottom * down)
        assert item[:4] == pytest.approx(box, abs=TOLERANCE_PT), one.text


def _pixels(path: Path, number: int = 1) -> Image.Image:
    with pymupdf.open(path) as document:
        pixmap = document[number - 1].get_pixmap(dpi=100)
        return Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)


def _directions(path: Path) -> set[tuple[int, int]]:
    with pymupdf.open(path) as document:
        lines = [line for block in document[0].get_text("dict")["blocks"] for line in block.get("lines", [])]
    return {(round(line["dir"][0]), round(line["dir"][1])) for line in lines}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.pdf"


@pytest.mark.parametrize("write", [write_pdfa, write_searchable])
def test_a_scan_s_words_lie_in_their_boxes_and_its_picture_stays(write: Any, tmp_path: Path, out: Path) -> None:
    page = page_of(1, LETTER_200, *LINES)
    scan = scanned_pdf(tmp_path / "scan.pdf", scan_of(page))
    write(stored(tmp_path, page), str(out), str(scan), PDF, "pymupdf")
    _assert_over(page, out)
    difference = ImageChops.difference(_pixels(out).convert("L"), _pixels(scan).convert("L"))
    assert not any(difference.histogram()[40:])  # JPEG's noise; nothing of the text is to be seen


@pytest.mark.parametrize("engine", ["pymupdf", "pypdfium2"])
@pytest.mark.parametrize("rotate", [90, 180, 270])
@pytest.mark.parametrize("write", [write_pdfa, write_searchable])
def test_a_page_that_is_shown_turned_has_its_words_where_they_are_seen(
    write: Any, rotate: int, engine: str, tmp_path: Path, out: Path
) -> None:
    size = (1_700, 2_200) if rotate == 180 else (2_200, 1_700)
    page = page_of(1, size, *LINES)
    back = scan_of(page).rotate(rotate, expand=True)  # counter-clockwise, as /Rotate is clockwise
    scan = scanned_pdf(tmp_path / "scan.pdf", back)
    with pikepdf.open(scan, allow_overwriting_input=True) as pdf:
        pdf.pages[0].obj.Parent.Rotate = rotate  # inherited
        del pdf.pages[0].obj["/Rotate"]
        pdf.save()
    write(stored(tmp_path, page), str(out), str(scan), PDF, engine)
    _assert_over(page, out)


@pytest.mark.parametrize("write", [write_pdfa, write_searchable])
def test_a_cropped_page_has_its_words_within_what_is_seen(write: Any, tmp_path: Path, out: Path) -> None:
    page = page_of(1, (1_000, 1_000), *LINES)  # what is seen of it
    scan = scanned_pdf(tmp_path / "scan.pdf", Image.new("L", LETTER_200, 255))
    with pikepdf.open(scan, allow_overwriting_input=True) as pdf:
        pdf.pages[0].cropbox = pikepdf.Array([100, 200, 460, 560])
        pdf.save()
    write(stored(tmp_path, page), str(out), str(scan), PDF, "pymupdf")
    _assert_over(page, out)


@pytest.mark.parametrize(("turn", "direction"), [(0, (1, 0)), (90, (0, 1)), (180, (-1, 0)), (270, (0, -1))])
def test_a_sheet_scanned_on_its_side_has_text_that_reads_as_it_lies(
    turn: int, direction: tuple[int, int], tmp_path: Path, out: Path
) -> None:
    upright = page_of(1, LETTER_200, *LINES, "and a third line")
    width, height = LETTER_200

    def turned(one: PageWord) -> PageWord:
        left, top, right, bottom = one.left, one.top, one.right, one.bottom
        box = {
            0: (left, top, right, bottom),
            90: (height - bottom, left, height - top, right),
            180: (width - right, height - bottom, width - left, height - top),
            270: (top, width - right, bottom, width - left),
        }[turn]
        return one._replace(left=box[0], top=box[1], right=box[2], bottom=box[3])

    words = [turned(one) for one in upright.words]
    size = (height, width) if turn in {90, 270} else (width, height)
    page = upright.model_copy(update={"word_table": pack_words(words), "width_px": size[0], "height_px": size[1]})
    assert turn_of(words) == turn
    Image.new("L", size, 255).save(tmp_path / "scan.png", dpi=(200, 200))
    write_pdfa(stored(tmp_path, page), str(out), str(tmp_path / "scan.png"), "image/png", "pymupdf")
    _assert_over(page, out)
    assert _directions(out) == {direction}


def test_words_that_run_from_right_to_left_are_not_upside_down() -> None:
    lines = [[word("שלום", 0, (900 - 100 * n, 100 * row, 980 - 100 * n, 100 * row + 40), line=row) for n in range(5)]
             for row in range(1, 4)]  # fmt: skip
    assert turn_of([one for line in lines for one in line]) == 0


def test_boxes_of_a_skewed_scan_are_kept_as_they_are(tmp_path: Path, out: Path) -> None:
    words = [word(f"word{n}", 6 * n, (200 + 150 * n, 300 - 9 * n, 330 + 150 * n, 348 - 9 * n)) for n in range(8)]
    page = PageText(
        number=1, text=" ".join(one.text for one in words), source=PageSource.OCR, confidence=0.9,
        width_px=1_700, height_px=2_200, word_table=pack_words(words),
    )  # fmt: skip
    scan = scanned_pdf(tmp_path / "scan.pdf", scan_of(page).rotate(3.4, fillcolor=255))
    write_pdfa(stored(tmp_path, page), str(out), str(scan), PDF, "pymupdf")
    _assert_over(page, out)


def test_a_fax_of_many_pages_and_sizes_keeps_black_and_white_and_its_two_resolutions(tmp_path: Path, out: Path) -> None:
    pages = [page_of(n, size, *LINES) for n, size in enumerate([(1_728, 2_200), (1_000, 800), (1_728, 1_100)], start=1)]
    first, *more = [scan_of(page, "1") for page in pages]
    first.save(tmp_path / "fax.tif", compression="group4", dpi=(204, 98), save_all=True, append_images=more)
    write_pdfa(stored(tmp_path, *pages), str(out), str(tmp_path / "fax.tif"), "image/tiff", "pymupdf")
    for page in pages:
        _assert_over(page, out, page.number)
        with pymupdf.open(out) as document:
            rect = document[page.number - 1].rect
        assert (rect.width, rect.height) == pytest.approx(
            (page.width_px * 72 / 204, page.height_px * 72 / 98), abs=0.01
        )
    with pikepdf.open(out) as pdf:
        image: Any = pdf.pages[0].get_images()["/Page"]
        assert image.Filter == "/CCITTFaxDecode"
        assert pikepdf.PdfImage(image).as_pil_image().convert("L").tobytes() == first.convert("L").tobytes()


def test_a_photo_keeps_its_colour_and_is_set_upright(tmp_path: Path, out: Path) -> None:
    page = page_of(1, (600, 800), "Deed of")
    photo = Image.new("RGBA", (800, 600), (200, 30, 30, 128))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.convert("RGB").save(tmp_path / "photo.jpg", exif=exif)
    write_pdfa(stored(tmp_path, page), str(out), str(tmp_path / "photo.jpg"), "image/jpeg", "pymupdf")
    _assert_over(page, out)
    red, green, _ = _pixels(out).getpixel((20, 20))  # type: ignore[misc]  # three bands
    assert red > green + 100
    photo.save(tmp_path / "photo.png")
    write_pdfa(stored(tmp_path, page), str(out), str(tmp_path / "photo.png"), "image/png", "pymupdf")
    assert min(_pixels(out).getpixel((20, 20))) > 100  # type: ignore[arg-type]  # half transparent, on white


def test_every_script_is_found_as_it_was_read(tmp_path: Path, out: Path) -> None:
    page = page_of(1, LETTER_200, "😀", "Straße", "договор", "契約書", "عقد", "שלום", "𝔇eed")
    write_pdfa(stored(tmp_path, page), str(out), str(_blank(tmp_path)), "image/png", "pymupdf")
    assert {item[4] for item in _found(out)} == {one.text for one in page.words}
    with pymupdf.open(out) as document:
        assert document[0].search_for("契約書")
    with open_pdf(out, engine="pypdfium2", file_name="out.pdf") as document:
        # PDFium leaves out a word that is one character beyond U+FFFF.
        assert set(document.text(1).split()) == {one.text for one in page.words} - {"😀"}


def _blank(directory: Path) -> Path:
    path = directory / "blank.png"
    Image.new("L", LETTER_200, 255).save(path, dpi=(200, 200))
    return path


def test_text_without_places_is_found_on_its_page(tmp_path: Path, out: Path) -> None:
    write_pdfa(
        stored(tmp_path, layer_page(1, "One line\n\nand another")),
        str(out),
        str(_blank(tmp_path)),
        "image/png",
        "pymupdf",
    )
    assert [item[4] for item in _found(out)] == ["One", "line", "and", "another"]


def test_a_document_may_have_more_characters_than_the_font_and_longer_lines_than_a_string(
    tmp_path: Path, out: Path
) -> None:
    text = "".join(chr(code) for code in range(0x20000, 0x20000 + 65_100))
    write_pdfa(
        stored(tmp_path, layer_page(1, f"start {text} end")), str(out), str(_blank(tmp_path)), "image/png", "pymupdf"
    )
    shown = "".join(item[4] for item in _found(out))
    assert shown.startswith("start\U00020000")
    assert shown.endswith("\u25a1" * 3)  # beyond the last number, "end" included
    with pikepdf.open(out) as pdf:
        strings = [len(bytes(one.operands[0])) for one in pikepdf.parse_content_stream(pdf.pages[0], "Tj")]
    assert max(strings) <= 65_535


def test_a_page_with_text_of_its_own_is_left_as_it_is(tmp_path: Path, out: Path) -> None:
    born = Canvas(str(tmp_path / "born.pdf"), pagesize=(612, 792))
    born.drawString(72, 700, "Born digital")
    born.showPage()
    born.save()
    page = page_of(1, LETTER_200, "Born digital").model_copy(update={"source": PageSource.TEXT})
    write_searchable(stored(tmp_path, page), str(out), str(tmp_path / "born.pdf"), PDF, "pymupdf")
    with pikepdf.open(tmp_path / "born.pdf") as before, pikepdf.open(out) as after:
        assert after.pages[0].Contents.read_bytes() == before.pages[0].Contents.read_bytes()
    assert [item[4] for item in _found(out)] == ["Born", "digital"]


def test_a_stamp_read_beside_a_text_layer_is_added_and_the_layer_is_not_doubled(tmp_path: Path, out: Path) -> None:
    born = Canvas(str(tmp_path / "born.pdf"), pagesize=(612, 792))
    born.drawString(72, 700, "Layer")
    born.showPage()
    born.save()
    words = [PageWord("Layer", 0, 1.0, 200, 200, 300, 240, 1, 1), PageWord("PAID", 6, 0.8, 600, 900, 800, 960, 2, 1)]
    words.append(PageWord("TODAY", 11, 1.0, 900, 900, 1_100, 960, 2, 1))
    page = PageText(
        number=1, text="Layer\nPAID TODAY", source=PageSource.BOTH, confidence=0.9, width_px=1_700, height_px=2_200,
        word_table=pack_words(words),
    )  # fmt: skip
    write_searchable(stored(tmp_path, page), str(out), str(tmp_path / "born.pdf"), PDF, "pymupdf")
    assert sorted(item[4] for item in _found(out)) == ["Layer", "PAID", "TODAY"]


def test_a_signed_file_stays_as_it_is_and_the_copy_claims_no_signature_nor_runs_anything(
    tmp_path: Path, out: Path
) -> None:
    page = page_of(1, LETTER_200, *LINES)
    scan = scanned_pdf(tmp_path / "scan.pdf", scan_of(page))
    with pikepdf.open(scan, allow_overwriting_input=True) as pdf:
        script = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS=pikepdf.String("app.alert(1)"))
        signature = pdf.make_indirect(
            pikepdf.Dictionary(
                FT=pikepdf.Name.Sig, T=pikepdf.String("S"), V=pikepdf.Dictionary(Type=pikepdf.Name.Sig),
                Subtype=pikepdf.Name.Widget, Rect=[0, 0, 9, 9], A=script,
            )
        )  # fmt: skip
        signature.Kids = pikepdf.Array([signature])  # goes round in a circle
        pdf.Root.AcroForm = pikepdf.Dictionary(Fields=[signature], SigFlags=3)
        pdf.Root.OpenAction = script
        pdf.pages[0].Annots = pikepdf.Array([signature])
        pdf.save()
    before = scan.read_bytes()
    write_searchable(stored(tmp_path, page), str(out), str(scan), PDF, "pymupdf")
    assert scan.read_bytes() == before
    assert {item[4] for item in _found(out)} >= {one.text for one in page.words}
    with pikepdf.open(out) as pdf:
        (field,) = pdf.Root.AcroForm.Fields
        assert not {"/V", "/A"} & set(field.keys())
        assert "/SigFlags" not in pdf.Root.AcroForm
        assert "/OpenAction" not in pdf.Root
        assert not pdf.is_encrypted


@pytest.mark.parametrize("write", [write_pdfa, write_searchable])
def test_the_same_document_gives_the_same_bytes(write: Any, tmp_path: Path, out: Path) -> None:
    page = page_of(1, LETTER_200, *LINES)
    scan, text = scanned_pdf(tmp_path / "scan.pdf", scan_of(page)), stored(tmp_path, page)
    write(text, str(out), str(scan), PDF, "pymupdf")
    first = out.read_bytes()
    write(text, str(out), str(scan), PDF, "pymupdf")
    assert out.read_bytes() == first


@pytest.mark.parametrize("write", [write_pdfa, write_searchable])
def test_a_file_without_pages_to_show_is_refused(write: Any, tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InvalidInput, match="ask for txt or md"):
        write(stored(tmp_path, layer_page(1, "text")), str(out), str(tmp_path / "a.txt"), "text/plain", "pymupdf")


def test_two_hundred_pages_take_no_more_memory_than_a_few(tmp_path: Path, out: Path) -> None:
    page = page_of(1, LETTER_200, *LINES)
    noise = Image.effect_noise((850, 1_100), 60)
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=60)
    (tmp_path / "noise.jpg").write_bytes(file.getvalue())
    canvas = Canvas(str(tmp_path / "scan.pdf"), pagesize=(306, 396))
    for _ in range(200):
        canvas.drawImage(str(tmp_path / "noise.jpg"), 0, 0, 306, 396)
        canvas.showPage()
    canvas.save()

    def peak_bytes(count: int) -> int:
        pages = [page.model_copy(update={"number": number}) for number in range(1, count + 1)]
        code = (
            "import resource, sys; from handlers.rendering.paged.archive import write_pdfa; write_pdfa(*sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024))"
        )
        args = [stored(tmp_path, *pages), str(out), str(tmp_path / "scan.pdf"), PDF, "pypdfium2"]
        return int(subprocess.run([sys.executable, "-c", code, *args], check=True, capture_output=True).stdout)

    few = peak_bytes(10)
    assert peak_bytes(200) < few + 20_000_000
    assert out.stat().st_size > 40_000_000
    with pikepdf.open(out) as pdf:
        assert len(pdf.pages) == 200
