"""Signatures in PDFs: intact, broken, added to; trusted or not; and a hostile one fails nothing but itself."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from handlers.documents.inspect import inspect
from handlers.documents.pdf_signatures import check
from handlers.ingest import ingest_document
from jobqueue.errors import LimitExceeded
from jobqueue.services.sandbox import ProcessSandbox
from jobqueue.tasks import FileSignature
from tests.unit import signed_files as made
from tests.unit.documents_support import FILE, TENANT, InProcessSandbox, World
from tests.unit.hostile_files import form_pdf


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def verdicts(tmp_path: Path, data: bytes, *, roots_pem: str = "") -> list[dict[str, Any]]:
    path = tmp_path / "deed.pdf"
    path.write_bytes(data)
    return check(str(path), roots_pem=roots_pem)


async def ingested(world: World, data: bytes, **options: Any) -> tuple[list[FileSignature], list[str]]:
    world.upload(data, "deed.pdf")
    await ingest_document(world.ctx(**options), tenant_id=TENANT, file_id=FILE)
    assert world.file.info is not None
    return world.file.info.signatures, world.file.info.warnings


async def test_a_good_signature_is_intact_and_its_signer_not_verified_without_a_trust_list(world: World) -> None:
    [one], warnings = await ingested(world, made.signed())
    assert (one.intact, one.coverage, one.changes, one.trusted) == (True, "file", "none", None)
    assert (one.field, one.signer, one.reason, one.problem) == ("Seller", "Ada Seller", "I agree", "")
    assert (one.certificate_subject, one.certificate_issuer) == ("Common Name: Ada Seller", "Common Name: Notaries")
    assert one.valid_from < one.signed_at < one.valid_until
    assert warnings == []


async def test_with_a_trust_list_a_signer_is_trusted_or_not(world: World, tmp_path: Path) -> None:
    [one], warnings = await ingested(world, made.signed(), signature_roots_pem=made.authority_pem())
    assert one.trusted
    assert warnings == []
    stranger = World(tmp_path)
    [other], warnings = await ingested(
        stranger, made.signed(signer="Ada Seller"), signature_roots_pem=made.authority_pem("Strangers")
    )
    assert (other.intact, other.trusted) == (True, False)
    assert warnings == [
        "The signature 'Seller' is intact, but no authority that is trusted here vouches for its signer."
    ]


async def test_bytes_changed_under_a_signature_break_it_and_a_person_is_told(world: World) -> None:
    [one], warnings = await ingested(world, made.tampered(made.signed()))
    assert (one.intact, one.changes) == (False, None)
    assert warnings == ["The signature 'Seller' is broken: what it covers was changed after it was signed."]


async def test_a_page_replaced_by_a_later_revision_is_suspicious(world: World) -> None:
    [one], warnings = await ingested(world, made.with_page_replaced(made.signed()))
    assert (one.intact, one.coverage, one.changes, one.covers_whole_file) == (True, "revision", "suspicious", False)
    assert [warning for warning in warnings if "changed afterwards in a way that isn't allowed" in warning]


async def test_a_second_signature_is_an_allowed_change_to_the_first(world: World) -> None:
    twice = made.signed(made.signed(), field="Buyer", signer="Bo Buyer")
    signatures, warnings = await ingested(world, twice)
    found = {one.field: (one.intact, one.coverage, one.changes) for one in signatures}
    assert found == {"Seller": (True, "revision", "form_filling"), "Buyer": (True, "file", "none")}
    assert warnings == []


def test_a_change_is_allowed_or_suspicious_by_what_the_signer_allowed(tmp_path: Path) -> None:
    [free] = verdicts(tmp_path, made.filled_in(made.signed(form_pdf())))
    [locked] = verdicts(tmp_path, made.filled_in(made.signed(form_pdf(), certify=True)))
    assert (free["intact"], free["changes"]) == (True, "form_filling")
    assert (locked["intact"], locked["changes"]) == (True, "suspicious")


# ── the file itself ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_a_signed_file_no_copy_is_made_and_its_bytes_stay(world: World) -> None:
    data = made.signed(made.signed(), field="Buyer", signer="Bo Buyer")
    await ingested(world, data)
    assert world.file.info is not None
    assert (world.file.info.copy_made, world.file.info.reading_key) == (None, None)
    assert world.blobs.objects == {world.file.blob_key: data}


# ── hostile ones ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "damage",
    [
        (b"/ByteRange [", b"/ByteRangf ["),
        (b"/Contents <30", b"/Contents <ff"),
        (b"/SubFilter /adbe.pkcs7.detached", b"/SubFilter /adbe.pkcs7.somethin"),
    ],
)
async def test_a_signature_that_can_not_be_read_says_so_and_the_file_goes_on(
    world: World, damage: tuple[bytes, bytes]
) -> None:
    data = made.signed()
    assert data.count(damage[0]) == 1
    [one], warnings = await ingested(world, data.replace(*damage))
    assert world.file.state == "accepted"
    assert one.intact is None
    assert one.problem
    [warning] = warnings
    assert warning.startswith("The signature 'Seller' could not be checked")
    assert warning.endswith("cover all of the file.") is not one.covers_whole_file


class Slow(InProcessSandbox):
    async def run(self, function: str, /, *args: Any, **options: Any) -> Any:
        if function.endswith("pdf_signatures:check"):
            raise LimitExceeded("it took more than 30 s (wall_s)")
        return await super().run(function, *args, **options)


async def test_a_signature_that_takes_too_long_fails_nothing_but_itself(world: World) -> None:
    world.sandbox = Slow()
    [one], _ = await ingested(world, made.signed())
    assert world.file.state == "accepted"
    assert one.problem == "it could not be checked: it took more than 30 s (wall_s)"


async def test_the_check_runs_in_the_real_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "deed.pdf"
    path.write_bytes(made.signed())
    async with ProcessSandbox(processes=1, packages=("handlers.documents",)) as sandbox:
        run = functools.partial(sandbox.run, "handlers.documents.pdf_signatures:check", str(path))
        [trusted] = await run(roots_pem=made.authority_pem())
        [unverified] = await run()
    assert (trusted["intact"], trusted["trusted"]) == (True, True)
    assert (unverified["intact"], unverified["trusted"]) == (True, None)  # not what this machine trusts


def test_what_the_file_states_of_a_signature_is_found_without_checking_it(tmp_path: Path) -> None:
    path = tmp_path / "deed.pdf"
    path.write_bytes(made.signed())
    found = inspect(str(path), "deed.pdf", max_bytes=10**9, max_pages=9, engine="pypdfium2")
    assert [one["signer"] for one in found["signatures"]] == ["Ada Seller"]
