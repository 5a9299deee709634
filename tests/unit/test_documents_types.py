"""Types by bytes: what is accepted, what is refused, and files that are several things at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from PIL import Image

from handlers.documents.inspect import inspect
from handlers.documents.text import read_page
from handlers.rendering.paged.archive import write_pdfa
from handlers.rendering.paged.searchable import write_searchable
from jobqueue.errors import LimitExceeded, Permanent, RejectedFile
from jobqueue.tasks import DocumentInfo, DocumentText, PageSource, PageText
from tests.unit import heic_sample
from tests.unit import hostile_files as hostile
from tests.unit import office_files as office

Look = Callable[..., DocumentInfo]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    def call(data: bytes, name: str, **more: Any) -> DocumentInfo:
        path = tmp_path / "upload"
        path.write_bytes(data)
        wanted: dict[str, Any] = {"max_bytes": 10_000_000, "max_pages": 100, "engine": "pymupdf"} | more
        return DocumentInfo.model_validate(inspect(str(path), name, **wanted))

    return call


@pytest.mark.parametrize(
    ("make", "name", "expected", "words"),
    [
        (office.docx, "lease.docx", ("wordprocessingml.document", 2), ["Landlord leases", "Rent | $1,250.00"]),
        (lambda: office.RTF, "offer.rtf", ("application/rtf", 2), ["€ 425,000", "Voßberg"]),
        (office.eml, "offer.eml", ("message/rfc822", 1), ["Subject: Offer for the mill", "We offer $425,000"]),
        (office.msg, "offer.msg", ("application/vnd.ms-outlook", 1), ["From: Ingrid Vossberg", "We offer $425,000"]),
        (office.msg_of_rtf, "offer.msg", ("application/vnd.ms-outlook", 1), ["hello world"]),
        (lambda: office.archive({"a/deed.txt": b"Deed."}), "all.zip", ("application/zip", 1), ["deed.txt"]),
    ],
)
def test_a_document_of_each_type_is_accepted_and_its_text_can_be_read(
    look: Look, tmp_path: Path, make: Callable[[], bytes], *, name: str, expected: tuple[str, int], words: list[str]
) -> None:
    mime_type, pages = expected
    info = look(make(), name)
    assert info.mime_type.endswith(mime_type)
    assert (info.pages, info.warnings) == (pages, [])
    page = read_page(str(tmp_path / "upload"), info.mime_type, 1, engine="pymupdf", languages="eng")
    assert page["source"] == "text"
    assert all(word in page["text"] for word in words)
    with pytest.raises(RejectedFile, match=f"page {pages + 1} is missing"):
        read_page(str(tmp_path / "upload"), info.mime_type, pages + 1, engine="pymupdf", languages="eng")


def test_a_word_file_has_its_paragraphs_and_rows_in_order_and_no_deleted_text(look: Look, tmp_path: Path) -> None:
    look(office.docx(), "lease.docx")
    first = read_page(
        str(tmp_path / "upload"), look(office.docx(), "x.docx").mime_type, 1, engine="pymupdf", languages="eng"
    )["text"]
    assert first.splitlines() == [
        "Landlord leases the mill to Tenant.",
        "Rent | $1,250.00",
        "Deposit | $2,500.00",
        "Tenant pays on the first day.",
    ]
    body = (
        "<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>kept</w:t></w:r>"
        "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:instrText>PAGE</w:instrText></w:r>"
        "<mc:Fallback><w:p><w:r><w:t>twice</w:t></w:r></w:p></mc:Fallback></w:p>"
    )
    info = look(office.docx_of_body(body), "x.docx")
    text = read_page(str(tmp_path / "upload"), info.mime_type, 1, engine="pymupdf", languages="eng")["text"]
    assert text == "kept"


def test_the_pictures_of_telephones_and_the_web_are_accepted(look: Look) -> None:
    image = Image.new("RGB", (120, 160), "white")
    info = look(hostile.picture(image, "WEBP"), "page.webp")
    assert (info.mime_type, info.metadata["width_px"]) == ("image/webp", "120")
    info = look(heic_sample.DATA, "page.heic")
    assert (info.mime_type, info.pages, info.metadata["width_px"]) == ("image/heic", 1, "64")


def test_where_a_picture_was_taken_is_told_of_and_not_kept(look: Look) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Canon"
    exif[0x8825] = {1: "N", 2: (45.0, 31.0, 12.0)}
    info = look(hostile.picture(Image.new("RGB", (50, 50)), "JPEG", exif=exif), "page.jpg")
    assert [finding.code for finding in info.findings] == ["image_location"]
    assert info.metadata["camera_make"] == "Canon"
    assert "45" not in str(info.metadata)


def test_what_is_served_of_a_picture_says_nothing_of_where_it_was_taken(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Canon"
    exif[0x8825] = {1: "N", 2: (45.0, 31.0, 12.0)}
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(hostile.picture(hostile.print_page("Deed of sale"), "JPEG", exif=exif))
    assert b"Exif" in photo.read_bytes()
    page = PageText(number=1, text="Deed of sale", source=PageSource.OCR, confidence=1.0)
    (tmp_path / "text.json").write_text(DocumentText(pages=[page]).model_dump_json())
    for write in (write_searchable, write_pdfa):
        write(str(tmp_path / "text.json"), str(tmp_path / "out.pdf"), str(photo), "image/jpeg", "pypdfium2")
        with pikepdf.open(tmp_path / "out.pdf") as pdf:
            streams = [thing.read_raw_bytes() for thing in pdf.objects if isinstance(thing, pikepdf.Stream)]
        assert any(data.startswith(b"\xff\xd8") for data in streams)  # the page, as a JPEG
        assert not any(b"Exif" in data or b"Canon" in data for data in streams)


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (
            lambda: hostile.text_pdf() + office.archive({"a.exe": b"MZ"}),
            "deed.pdf",
            "PDF file and a ZIP archive in one",
        ),
        (lambda: b"GIF89a" + b"\0" * 40 + b"\n" + hostile.text_pdf(), "deed.pdf", "image/gif with a PDF behind"),
        (lambda: b"<script>x()</script>\n" + hostile.text_pdf(), "deed.pdf", "a web page with a PDF behind"),
        (lambda: b"MZ" + b"\0" * 40 + b"\n" + hostile.text_pdf(), "deed.pdf", "with a PDF behind"),
        (lambda: hostile.picture(Image.new("L", (9, 9)), "PNG") + hostile.text_pdf(), "a.png", "PNG file and a PDF"),
        (
            lambda: hostile.picture(Image.new("L", (9, 9)), "JPEG") + office.archive({"a": b"a"}),
            "a.jpg",
            "JPG file and a ZIP archive",
        ),
        (lambda: office.RTF + b"\n" + hostile.text_pdf(), "a.rtf", "RTF file and a PDF"),
        (lambda: office.docx() + hostile.text_pdf(), "a.docx", "something after its end"),
    ],
)
def test_a_file_that_is_two_things_at_once_is_refused(
    look: Look, make: Callable[[], bytes], name: str, words: str
) -> None:
    with pytest.raises(RejectedFile, match=words):
        look(make(), name)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: office.compound({"WordDocument": b"x"}), RejectedFile, r"old Word document \(\.doc\)"),
        (lambda: office.compound({"EncryptedPackage": b"x"}), RejectedFile, "protected by a password"),
        (lambda: office.compound({"Other": b"x"}), RejectedFile, "unknown kind"),
        (office.circular_compound, RejectedFile, "runs in a circle"),
        (lambda: office.msg()[:700], RejectedFile, "damaged Office file"),
        (lambda: office.changed(office.docx(), {"[Content_Types].xml": b"spreadsheetml"}), RejectedFile, "an Excel"),
        (lambda: b"{\\rt{\\object\\objdata 01}}", RejectedFile, "a malformed RTF document"),
        (office.bomb, LimitExceeded, "more than 200 times its size"),
        (office.overlapping_bomb, RejectedFile, "share bytes"),
        (office.encrypted_archive, RejectedFile, "protected by a password"),
        (office.lying_archive, RejectedFile, "damaged"),
        (lambda: office.nested_archive(5), LimitExceeded, "nested more than 3 deep"),
        (lambda: office.archive({f"{n}.txt": b"x" for n in range(201)}), LimitExceeded, "more than the 200 files"),
        (lambda: office.archive({f"{n}.txt": b"x" for n in range(2001)}), LimitExceeded, "more than the 2,000 members"),
        (lambda: office.archive({".DS_Store": b"x"}), RejectedFile, "archive without files"),
        (lambda: b"{\\rtf1" + b"{" * 2_000 + b"x", RejectedFile, "nested more than 1,000 deep"),
        (lambda: office.docx_of_body("<w:p>" * 5_000), RejectedFile, "nested too deep"),
        (lambda: office.docx_of_body("<w:tc><w:p/></w:tc>"), RejectedFile, "tables are damaged"),
        (
            lambda: office.changed(
                office.docx(), {"word/document.xml": b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><d>&b;</d>'}
            ),
            RejectedFile,
            "entities of its own",
        ),
        (lambda: office.nested_eml(40), RejectedFile, "nested more than 10 deep"),
        (lambda: office.docx_of_body(""), RejectedFile, "holds no text"),
    ],
)
def test_a_hostile_document_ends_with_a_reason_that_names_it(
    look: Look, make: Callable[[], bytes], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        look(make(), "deed")
    assert isinstance(caught.value, Permanent)
    assert str(caught.value).startswith("deed")


def test_a_name_that_promises_another_type_is_a_warning_and_text_that_quotes_headers_is_text(look: Look) -> None:
    docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    assert look(office.docx(), "lease.pdf").warnings == [f"The name ends in .pdf, but the content is {docx}."]
    assert look(b"From: me\nTo: you\nSubject: rent\n\nPay.", "memo.txt").mime_type == "text/plain"
