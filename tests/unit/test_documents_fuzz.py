"""Good files with random damage: whatever the parsers stumble over ends in a refusal that names the file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.documents.children import children_of
from handlers.documents.inspect import inspect
from jobqueue.errors import LimitExceeded, RejectedFile
from tests.unit import heic_sample
from tests.unit import hostile_files as hostile
from tests.unit import office_files as office

MUTANTS = 60
ACTIVE = office.pdf_with(
    "/OpenAction<</S/JavaScript/JS(x)>>/AcroForm<</Fields[5 0 R]>>", b"<</T(a)/FT/Tx/V(1)/Kids[]>>"
)
SEEDS: dict[str, Callable[[], bytes]] = {
    "docx": office.docx,
    "rtf": lambda: office.RTF,
    "eml": lambda: office.eml(("deed.pdf", hostile.text_pdf())),
    "msg": lambda: office.msg(("deed.pdf", hostile.text_pdf())),
    "zip": lambda: office.archive({"a.txt": b"Deed." * 50, "b.zip": office.archive({"c.txt": b"Lease."})}),
    "pdf": lambda: ACTIVE,
    "locked": office.locked_pdf,
    "unended": office.unended_pdf,
    "heic": lambda: heic_sample.DATA,
}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file with up to twenty bytes changed, cut out, doubled or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(out))
        match rng.randrange(5):
            case 0:
                out[at] = rng.randrange(256)
            case 1 if len(out) > 100:
                del out[at : at + rng.randrange(1, 60)]
            case 2:
                out[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                start = rng.randrange(len(out))
                out[at:at] = out[start : start + rng.randrange(1, 200)]
            case _:
                out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"9999", b"-1 0"))
    return bytes(out)


@pytest.mark.parametrize("kind", SEEDS)
def test_random_damage_is_read_or_refused_and_nothing_else(tmp_path: Path, kind: str) -> None:
    rng, whole, path = random.Random(kind), SEEDS[kind](), tmp_path / "file"
    reasons, read = [], 0
    for _ in range(MUTANTS):
        path.write_bytes(damaged(whole, rng))
        copy = str(tmp_path / "copy")
        try:
            found = inspect(
                str(path), "deed", max_bytes=10_000_000, max_pages=100, engine="pymupdf", password="mill", copy_to=copy
            )
            list(children_of(path, found["mime_type"], name="deed", max_bytes=10_000_000))
            read += 1
        except (RejectedFile, LimitExceeded) as exc:
            reasons.append(str(exc))
    assert read
    assert [reason for reason in reasons if not reason.startswith("deed") or "\n" in reason] == []
