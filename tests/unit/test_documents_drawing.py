"""How much a PDF draws is bounded before anything draws it: by bytes, by orders, and by what is named over and over."""

from __future__ import annotations

import base64
import io
import random
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import pikepdf
import pytest

from handlers.documents import pdf_drawing
from handlers.documents.inspect import inspect
from handlers.documents.pdf_decode import TooLong, decoded
from jobqueue.errors import LimitExceeded
from tests.corpus import traps
from tests.unit.hostile_files import raw_pdf

CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
PAGES = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
LINE = b"10 10 m 14 17 l S "


def page(extra: bytes) -> bytes:
    return b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]%s>>" % extra


def stream(content: bytes, about: bytes = b"") -> bytes:
    packed = zlib.compress(content)
    return b"<<%s/Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (about, len(packed), packed)


def form(content: bytes, resources: bytes = b"") -> bytes:
    about = b"/Type/XObject/Subtype/Form/BBox[0 0 99 99]"
    return stream(content, about + (b"/Resources<<%s>>" % resources if resources else b""))


def look(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "plan.pdf"
    path.write_bytes(data)
    inspect(str(path), "plan.pdf", max_bytes=10**9, max_pages=2_000, engine="pypdfium2")


def drawn(*objects: bytes) -> None:
    with pikepdf.open(io.BytesIO(raw_pdf(CATALOG, PAGES, *objects))) as pdf:
        pdf_drawing.check_drawing(pdf)


def blanks() -> bytes:
    """A hundred megabytes of them."""
    return raw_pdf(CATALOG, PAGES, page(b"/Contents 4 0 R"), stream(b" " * 100_000_000))


@pytest.mark.parametrize("bomb", [traps.drawing_bomb_pdf, blanks])
def test_a_few_bytes_that_unpack_to_hours_of_drawing_are_refused_at_once(tmp_path: Path, bomb: object) -> None:
    data = bomb()  # type: ignore[operator]  # both give bytes
    assert len(data) < 100_000
    began = time.process_time()
    with pytest.raises(LimitExceeded, match=r"plan\.pdf: its page 1 unpacks to more than the 32,000,000 bytes"):
        look(tmp_path, data)
    assert time.process_time() - began < 1.5  # measured: a tenth


def test_a_plan_of_200_000_orders_on_each_of_its_pages_is_accepted(tmp_path: Path) -> None:
    chance = random.Random(1)
    lines = b"".join(
        b"%d %d m %d %d l S " % tuple(chance.randrange(800) for _ in range(4)) for _ in range(70_000)
    )  # fmt: skip
    look(tmp_path, raw_pdf(CATALOG, PAGES, page(b"/Contents 4 0 R"), stream(lines)))


def test_orders_are_counted_not_only_bytes() -> None:
    with pytest.raises(LimitExceeded, match="page 1 draws more than the 1,000,000 things allowed"):
        drawn(page(b"/Contents 4 0 R"), stream(b"f " * 1_000_001))
    drawn(page(b"/Contents 4 0 R"), stream(b"f " * 900_000))


@pytest.mark.parametrize("name", [b"/X", b"/#58"])
def test_forms_that_draw_forms_are_multiplied_and_never_expanded(name: bytes) -> None:
    def nested(levels: int) -> Sequence[bytes]:
        inner = [
            form((name + b" Do ") * 10, b"/XObject<</X %d 0 R>>" % number) for number in range(6, 5 + levels)
        ]  # fmt: skip
        return page(b"/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>"), stream(b"/X Do"), *inner, form(LINE)

    drawn(*nested(5))
    began = time.process_time()
    with pytest.raises(LimitExceeded, match="draws more than"):
        drawn(*nested(30))  # ten to the thirtieth lines
    assert time.process_time() - began < 1.0


def test_a_form_without_resources_of_its_own_uses_those_of_its_page() -> None:
    resources = b"/Resources<</XObject<</X 5 0 R/Y 6 0 R>>>>"
    with pytest.raises(LimitExceeded, match="draws more than"):
        drawn(page(b"/Contents 4 0 R" + resources), stream(b"/X Do " * 2_000), form(b"/Y Do " * 600), form(LINE))


def test_masks_patterns_and_annotations_count_too() -> None:
    heavy = form(LINE * 200_000)
    mask = b"/Contents 4 0 R/Resources<</ExtGState<</G<</SMask<</S/Alpha/G 5 0 R>>>>>>>>"
    pattern = b"/Contents 4 0 R/Resources<</Pattern<</G 5 0 R>>>>"
    for extra, content in ((mask, b"/G gs " * 2), (pattern, b"/G scn " * 2)):
        with pytest.raises(LimitExceeded, match="draws more than"):
            drawn(page(extra), stream(content), heavy)
        drawn(page(extra), stream(b"0 g"), heavy)
    stamp = b"<</Type/Annot/Subtype/Stamp/Rect[0 0 9 9]/AP<</N 5 0 R>>>>"
    with pytest.raises(LimitExceeded, match="draws more than"):
        drawn(page(b"/Annots[%s%s]" % (stamp, stamp)), stream(b""), heavy)


def test_letters_that_are_drawn_by_orders_count_as_often_as_they_are_shown() -> None:
    def font(glyph: bytes) -> Sequence[bytes]:
        about = b"<</Type/Font/Subtype/Type3/FontBBox[0 0 9 9]/FontMatrix[1 0 0 1 0 0]/CharProcs<</a 6 0 R>>>>"
        text = stream(b"BT /F 9 Tf (" + b"a" * 2_000 + b") Tj ET")
        return page(b"/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>"), text, about, stream(glyph)

    drawn(*font(LINE * 50))
    with pytest.raises(LimitExceeded, match="draws more than"):
        drawn(*font(LINE * 500))


def test_a_form_without_resources_is_another_form_on_another_page() -> None:
    pages = b"<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2>>"
    light = page(b"/Contents 5 0 R/Resources<</XObject<</X 6 0 R>>>>")
    heavy = page(b"/Contents 5 0 R/Resources<</XObject<</X 6 0 R/Y 7 0 R>>>>")
    objects = stream(b"/X Do " * 1_000), form(b"/Y Do " * 300), form(LINE)
    with (
        pikepdf.open(io.BytesIO(raw_pdf(CATALOG, pages, light, heavy, *objects))) as pdf,
        pytest.raises(LimitExceeded, match="page 2 draws more than"),
    ):
        pdf_drawing.check_drawing(pdf)


def test_a_form_that_draws_itself_comes_to_an_end() -> None:
    with pikepdf.open(io.BytesIO(traps.self_drawing_pdf())) as pdf:
        pdf_drawing.check_drawing(pdf)


def test_all_pages_together_are_bounded_and_a_stream_that_they_share_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pdf_drawing, "MAX_FILE_BYTES", 100_000)
    shared = [CATALOG, b"<</Type/Pages/Kids[%s]/Count 50>>" % b"".join(b"%d 0 R " % (n + 4) for n in range(50))]
    content = stream(LINE * 1_000)
    with pikepdf.open(io.BytesIO(raw_pdf(*shared, content, *[page(b"/Contents 3 0 R")] * 50))) as pdf:
        pdf_drawing.check_drawing(pdf)
    apart = [page(b"/Contents %d 0 R" % (n + 54)) for n in range(50)]
    with (
        pikepdf.open(io.BytesIO(raw_pdf(*shared, content, *apart, *[content] * 50))) as pdf,
        pytest.raises(LimitExceeded, match="upload it in parts"),
    ):
        pdf_drawing.check_drawing(pdf)


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────


def unpacked(data: bytes, *filters: str, max_bytes: int) -> bytes:
    with pikepdf.new() as pdf:
        made = pikepdf.Stream(pdf, data)
        made.stream_dict["/Filter"] = pikepdf.Array([pikepdf.Name(name) for name in filters])
        return decoded(made, max_bytes=max_bytes)


def lzw(data: bytes) -> bytes:
    """By the book: the early change of code length, a clear at the start and when the table is full."""
    bits, out, width, table = 0, 0, 9, {bytes((b,)): b for b in range(256)}
    size, before = 258, b""

    def put(code: int) -> None:
        nonlocal bits, out
        out, bits = out << width | code, bits + width

    put(256)
    for byte in data:
        longer = before + bytes((byte,))
        if longer in table:
            before = longer
            continue
        put(table[before])
        table[longer], size = size, size + 1
        width = min(12, size.bit_length())
        before = bytes((byte,))
        if size == 4_094:
            put(table[before])
            put(256)
            width, size, before = 9, 258, b""
            table = {bytes((b,)): b for b in range(256)}
    if before:
        put(table[before])
    put(257)
    pad = -bits % 8
    return (out << pad).to_bytes((bits + pad) // 8, "big")


CONTENT = b"".join(b"%d %d m %d 7 l S\n" % (n, n * n % 97, n % 13) for n in range(3_000))


@pytest.mark.parametrize(
    ("data", "filters"),
    [
        (CONTENT, ()),
        (zlib.compress(CONTENT), ("/FlateDecode",)),
        (zlib.compress(zlib.compress(CONTENT)), ("/Fl", "/Fl")),
        (lzw(CONTENT), ("/LZWDecode",)),
        (base64.a85encode(zlib.compress(CONTENT)) + b"~>", ("/ASCII85Decode", "/FlateDecode")),
        (CONTENT.hex(" ", 8).encode() + b">", ("/ASCIIHexDecode",)),
        (b"".join(bytes((len(p) - 1,)) + p for p in (CONTENT[n : n + 128] for n in range(0, len(CONTENT), 128))),
         ("/RunLengthDecode",)),
    ],
)  # fmt: skip
def test_what_filters_pack_is_unpacked_up_to_the_limit(data: bytes, filters: Sequence[str]) -> None:
    assert unpacked(data, *filters, max_bytes=len(CONTENT)) == CONTENT
    with pytest.raises(TooLong):
        unpacked(data, *filters, max_bytes=len(CONTENT) - 1)


@pytest.mark.parametrize(
    ("data", "filters"),
    [(lzw(bytes(300_000)), ("/LZWDecode",)), (b"\x81a" * 3_000, ("/RunLengthDecode",)), (b"z" * 99_999, ("/A85",)),
     (b"", ("/FlateDecode",) * 9)],
)  # fmt: skip
def test_bombs_of_every_filter_are_noticed(data: bytes, filters: Sequence[str]) -> None:
    with pytest.raises(TooLong):
        unpacked(data, *filters, max_bytes=200_000)


def test_a_damaged_stream_gives_what_comes_before_the_damage_and_no_error() -> None:
    broken = zlib.compress(bytes(random.Random(1).randbytes(900_000)))[:-300_000]
    assert len(unpacked(broken, "/FlateDecode", max_bytes=10**6)) > 500_000
    for filters in (("/LZWDecode",), ("/RunLengthDecode",), ("/ASCII85Decode",), ("/ASCIIHexDecode",), ("/DCTDecode",)):
        unpacked(broken, *filters, max_bytes=10**9)
