"""What inspect accepts, and how it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from handlers.documents import plain
from handlers.documents.inspect import inspect
from jobqueue.errors import LimitExceeded, Permanent, RejectedFile
from jobqueue.tasks import DocumentInfo
from tests.unit import hostile_files as hostile

ENGINES = ["pymupdf", "pypdfium2"]
Look = Callable[..., DocumentInfo]


@pytest.fixture(params=ENGINES)
def look(request: pytest.FixtureRequest, tmp_path: Path) -> Look:
    """Inspect some bytes under a name, with either engine."""

    def call(data: bytes, name: str, **limits: Any) -> DocumentInfo:
        path = tmp_path / "upload"
        path.write_bytes(data)
        wanted = {"max_bytes": 1_000_000, "max_pages": 10, "engine": request.param} | limits
        return DocumentInfo.model_validate(inspect(str(path), name, **wanted))

    return call


def test_a_pdf_is_described_by_its_content(look: Look) -> None:
    data = hostile.text_pdf(["one", "two"])
    info = look(data, "receipt.pdf")
    assert (info.mime_type, info.extension, info.pages) == ("application/pdf", ".pdf", 2)
    assert (info.size_bytes, info.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert info.metadata["title"] == "Earnest money receipt"
    assert info.metadata["author"] == "Thistlewick Homes"
    assert info.metadata["created"].startswith("2000-01-01T00:00:00")
    assert info.warnings == []


@pytest.mark.parametrize(
    ("make", "name", "error", "words"),
    [
        (hostile.empty, "deed.pdf", RejectedFile, "is empty"),
        (hostile.text_named_pdf, "deed.pdf", RejectedFile, "not a PDF file but plain text"),
        (hostile.text_named_pdf, "deed.png", RejectedFile, "not a PNG file but plain text"),
        (hostile.truncated_pdf, "deed.pdf", RejectedFile, "cut off"),
        (hostile.linearized_and_truncated_pdf, "deed.pdf", RejectedFile, "cut off"),
        (hostile.encrypted_pdf, "deed.pdf", RejectedFile, "password"),
        (hostile.pageless_pdf, "deed.pdf", RejectedFile, "has no pages"),
        (hostile.lying_page_count_pdf, "deed.pdf", RejectedFile, "damaged"),
        (hostile.huge_png, "deed.png", LimitExceeded, "more pixels"),
        (hostile.cut_off_png, "deed.png", RejectedFile, "damaged picture"),
        (hostile.cut_off_jpeg, "deed.jpg", RejectedFile, "damaged picture"),
        (hostile.scrambled_tiff, "deed.tif", RejectedFile, "damaged picture"),
        (hostile.binary_noise, "deed.pdf", RejectedFile, "unknown type"),
        (hostile.word_file, "deed.docx", RejectedFile, "save it as a PDF"),
        (hostile.web_page, "deed.pdf", RejectedFile, "a web page"),
        (lambda: b"%PDF-1.7\nand then nothing\n%%EOF", "deed.pdf", RejectedFile, "damaged"),
        (lambda: b" \r\n\t", "deed.txt", RejectedFile, "only blanks"),
    ],
)
def test_a_bad_file_is_refused_for_good_with_its_name_and_a_reason(
    look: Look, make: Callable[[], bytes], name: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        look(make(), name)
    assert isinstance(caught.value, Permanent)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_too_many_bytes_pages_frames_or_characters_are_refused_naming_the_limit(look: Look) -> None:
    with pytest.raises(LimitExceeded, match=r"lease\.txt has 12 bytes, more than the 11 allowed \(max_upload_bytes\)"):
        look(b"Lease terms.", "lease.txt", max_bytes=11)
    with pytest.raises(LimitExceeded, match=r"the 2 pages allowed \(max_pages\)"):
        look(hostile.text_pdf(["a", "b", "c"]), "lease.pdf", max_pages=2)
    with pytest.raises(LimitExceeded, match=r"the 1 pages allowed"):
        look(hostile.multi_page_tiff(), "lease.tif", max_pages=1)
    with pytest.raises(LimitExceeded, match="characters"):
        look(b"x" * (plain.MAX_CHARACTERS + 1), "lease.txt", max_bytes=10_000_000)


def test_a_pdf_at_the_page_limit_is_accepted(look: Look) -> None:
    assert look(hostile.text_pdf(["a", "b"]), "lease.pdf", max_pages=2).pages == 2
    assert look(hostile.multi_page_tiff(), "lease.tif", max_pages=2).pages == 2


def test_a_tiff_whose_directories_run_in_a_circle_ends(look: Look) -> None:
    assert look(hostile.endless_tiff(), "lease.tif").pages == 1


def test_a_pdf_that_anyone_may_open_is_accepted_though_it_is_encrypted(look: Look) -> None:
    assert look(hostile.restricted_pdf(), "receipt.pdf").pages == 1


def test_pictures_tell_their_size_and_resolution(look: Look) -> None:
    image = Image.new("L", (300, 400), 255)
    png = look(hostile.picture(image, "PNG", dpi=(300, 300)), "page.png")
    assert (png.mime_type, png.metadata) == ("image/png", {"width_px": "300", "height_px": "400", "dpi": "300"})
    assert look(hostile.picture(image, "JPEG"), "page.jpeg").metadata == {"width_px": "300", "height_px": "400"}
    assert look(hostile.multi_page_tiff(), "page.tiff").pages == 2


@pytest.mark.parametrize(
    "data",
    [
        b"Purchase price: $425,000\n",
        "Käufer: Ingrid".encode(),
        hostile.utf16_text(),
        "Käufer".encode("cp1252"),
        b"\f1.\tTerms",
    ],
)
def test_text_in_any_common_encoding_is_one_page_of_plain_text(look: Look, data: bytes) -> None:
    info = look(data, "terms.txt")
    assert (info.mime_type, info.pages, info.warnings) == ("text/plain", 1, [])


def test_an_extension_of_another_accepted_type_is_a_warning(look: Look) -> None:
    info = look(hostile.text_pdf(), "receipt.png")
    assert info.mime_type == "application/pdf"
    assert info.warnings == ["The name ends in .png, but the content is application/pdf."]
    assert look(hostile.text_pdf(), "receipt").warnings == []
    assert look(hostile.text_pdf(), "RECEIPT.PDF").warnings == []


def test_a_pdf_may_have_lines_before_its_header_but_a_text_about_pdf_is_text(look: Look) -> None:
    assert look(b"HTTP/1.1 200 OK\n" + hostile.text_pdf(), "receipt.pdf").mime_type == "application/pdf"
    assert look(b"Files that start with %PDF-1.4 are PDF.", "notes.txt").mime_type == "text/plain"


def test_a_hostile_file_name_can_not_forge_lines_or_paths_in_a_message(look: Look) -> None:
    with pytest.raises(RejectedFile) as caught:
        look(b"", "../../etc/a\x00\r\nERROR \u202egnp.exe" + "x" * 500)
    message = str(caught.value)
    assert message.startswith("a ERROR gnp.exexxx")
    assert len(message) < 200
    assert message.isprintable()
