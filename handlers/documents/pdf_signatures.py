"""Whether a PDF's digital signatures hold: what they cover, what changed after them, who signed. No network, ever."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from handlers.documents.cleaning import clean_line

if TYPE_CHECKING:
    from asn1crypto import x509
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
    from pyhanko.sign.validation.status import PdfSignatureStatus

T = TypeVar("T")

MAX_SIGNATURES: Final = 20
_CHANGES: Final = ("none", "long_term_data", "form_filling", "annotations", "suspicious")  # by pyHanko's levels
_COVERAGE: Final = ("unclear", "part", "revision", "file")
_TOLD_CHARS: Final = 200


def check(path: str, *, roots_pem: str = "", password: str | None = None) -> list[dict[str, Any]]:
    """Check the signatures of an accepted PDF; the fields of `jobqueue.tasks.FileSignature` that this finds out.

    Args:
        path: the file as it was uploaded.
        roots_pem: certificates of the authorities to trust; empty: whom to trust is not looked at.
        password: of a protected PDF.

    Returns:
        One for each of the first `MAX_SIGNATURES`, in the order of signing, with the ``field``'s name to tell them
        apart. A signature that can't be checked says why in ``problem``, and fails nothing else.
    """
    from pyhanko.pdf_utils.reader import PdfFileReader

    # It would log certificates' names, and a traceback for every signer that nobody vouches for.
    logging.getLogger("pyhanko").setLevel(logging.CRITICAL)
    with Path(path).open("rb") as file:
        reader = PdfFileReader(file, strict=False)
        if reader.encrypted:
            reader.decrypt(password or "")
        trusted = _certificates(roots_pem)
        return [_checked(reader, name, field, trusted) for name, field in _fields(reader)]


def _certificates(pem: str) -> list[x509.Certificate]:
    from pyhanko.keys import load_certs_from_pemder_data

    return list(load_certs_from_pemder_data(pem.encode())) if pem else []


def _fields(reader: PdfFileReader) -> Iterator[tuple[str, Any]]:
    """The signed fields, without opening what is in them: one that is broken must not hide the others."""
    from pyhanko.sign.fields import enumerate_sig_fields

    for number, (name, _, field) in enumerate(enumerate_sig_fields(reader, filled_status=True)):
        if number == MAX_SIGNATURES:
            return
        yield name, field


def _checked(reader: PdfFileReader, name: str, field: Any, roots: list[x509.Certificate]) -> dict[str, Any]:
    try:
        return {"field": name[:_TOLD_CHARS]} | _verdict(reader, name, field, roots)
    except MemoryError:  # the sandbox's limit, which it reports itself
        raise
    except Exception as exc:  # noqa: BLE001  # a hostile one can make the parsers raise anything
        told = clean_line(str(exc), max_chars=_TOLD_CHARS) or type(exc).__name__
        return {"field": name[:_TOLD_CHARS], "problem": told}


def _verdict(reader: PdfFileReader, name: str, field: Any, roots: list[x509.Certificate]) -> dict[str, Any]:
    from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature, async_validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    embedded = EmbeddedPdfSignature(reader, field, name)
    # An empty list, not None: that would stand for whatever this machine trusts.
    context = ValidationContext(trust_roots=roots, allow_fetching=False)
    status = finished(async_validate_pdf_signature(embedded, signer_validation_context=context))
    intact = bool(status.intact and status.valid)
    return {
        "intact": intact,
        "coverage": _COVERAGE[status.coverage.value if status.coverage else 0],
        "changes": _change(status) if intact else None,
        "trusted": bool(status.trusted) if roots else None,
        **_certificate(embedded),
    }


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing: what pyHanko would wait for is the network.

    Raises `RuntimeError` where it does wait.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what a coroutine returns, its exception carries untyped
    work.close()
    raise RuntimeError("it asks for something from a network")


def _change(status: PdfSignatureStatus) -> str:
    """The gravest kind of change made after signing; one that the signer forbade is suspicious whatever it is."""
    level = status.modification_level
    if level is None or status.docmdp_ok is False:
        return "suspicious"
    return _CHANGES[level.value]


def _certificate(embedded: EmbeddedPdfSignature) -> dict[str, str]:
    certificate = embedded.signer_cert
    validity = certificate["tbs_certificate"]["validity"]
    return {
        "certificate_subject": clean_line(certificate.subject.human_friendly, max_chars=_TOLD_CHARS),
        "certificate_issuer": clean_line(certificate.issuer.human_friendly, max_chars=_TOLD_CHARS),
        "valid_from": validity["not_before"].native.isoformat(),
        "valid_until": validity["not_after"].native.isoformat(),
    }
