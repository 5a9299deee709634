"""Signed PDFs, and what is done to them afterwards. Keys and certificates are made on the spot."""

from __future__ import annotations

import functools
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pyhanko.keys import load_certs_from_pemder_data, load_private_key_from_pemder_data
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields, signers
from pyhanko_certvalidator.registry import SimpleCertificateStore

from tests.unit.hostile_files import text_pdf


@functools.cache
def _keys(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A key and its certificate; ``Notaries`` and ``Strangers`` are authorities, all others are by the notaries."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    root = name in {"Notaries", "Strangers"}
    issuer_key, issuer = (key, subject) if root else (_keys("Notaries")[0], _keys("Notaries")[1].subject)
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=not root, key_cert_sign=root, crl_sign=root, **usage
            ),
            critical=True,
        )
    )
    return key, builder.sign(issuer_key, SHA256())


def authority_pem(name: str = "Notaries") -> str:
    return _keys(name)[1].public_bytes(Encoding.PEM).decode()


def _signer(name: str) -> signers.SimpleSigner:
    key, certificate = _keys(name)
    store = SimpleCertificateStore()  # type: ignore[no-untyped-call]  # pyHanko's
    store.register_multiple(load_certs_from_pemder_data(authority_pem().encode()))
    return signers.SimpleSigner(
        signing_cert=next(iter(load_certs_from_pemder_data(certificate.public_bytes(Encoding.PEM)))),
        signing_key=load_private_key_from_pemder_data(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), passphrase=None
        ),
        cert_registry=store,
    )


def signed(
    data: bytes | None = None, *, field: str = "Seller", signer: str = "Ada Seller", certify: bool = False
) -> bytes:
    """A PDF, by default a good one of one page, with one signature more."""
    writer = IncrementalPdfFileWriter(io.BytesIO(data or text_pdf()), strict=False)
    meta = signers.PdfSignatureMetadata(
        field_name=field, name=signer, reason="I agree", certify=certify,
        docmdp_permissions=fields.MDPPerm.NO_CHANGES if certify else fields.MDPPerm.FILL_FORMS,
    )  # fmt: skip
    with ThreadPoolExecutor(1) as aside:  # pyHanko runs a loop of its own, and many a test is inside of one
        out = aside.submit(signers.sign_pdf, writer, meta, signer=_signer(signer)).result()
    return bytes(out.getvalue())


def with_page_replaced(data: bytes) -> bytes:
    """Other content for its first page, added as a later revision: readers show that."""
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=False)
    page = writer.root["/Pages"]["/Kids"][0]
    page["/Contents"] = writer.add_object(generic.StreamObject(stream_data=b"BT ET 0 0 100 100 re f"))
    writer.update_container(page)
    out = io.BytesIO()
    writer.write(out)  # type: ignore[no-untyped-call]  # pyHanko's
    return out.getvalue()


def filled_in(data: bytes) -> bytes:
    """Another value for the first field of a form, by a later revision."""
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=False)
    field = writer.root["/AcroForm"]["/Fields"][0]
    field["/V"] = generic.TextStringObject("1 USD")
    writer.update_container(field)
    out = io.BytesIO()
    writer.write(out)  # type: ignore[no-untyped-call]  # pyHanko's
    return out.getvalue()


def tampered(data: bytes) -> bytes:
    """A byte of the page changed under the signature."""
    at = data.index(b"/MediaBox")
    return data[:at] + data[at:].replace(b"792", b"791", 1)
