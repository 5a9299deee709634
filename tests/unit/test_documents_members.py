"""Sizes of what archives hold, whatever they claim; clamd's own traps are in tests/integration/test_virus_scan."""

from __future__ import annotations

import random
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.documents.members import MAX_DEPTH, MAX_MEMBERS, check_members
from jobqueue.errors import RejectedFile
from tests.clamd_support import zipped

LARGEST = 100_000


def check(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        check_members(file.name, max_member_bytes=LARGEST)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_up_to_the_limit_pass_whatever_packs_them(method: int) -> None:
    check(zipped(("a", bytes(LARGEST)), ("b.zip", zipped(("c", bytes(1_000)))), method=method))
    with pytest.raises(RejectedFile, match="a part of it has 100,001 bytes"):
        check(zipped(("a", bytes(LARGEST + 1)), method=method))


def test_what_is_no_archive_passes() -> None:
    for data in (b"", b"PK", b"a deed", b"%PDF-1.7 with an archive at its end" + zipped(("a", bytes(LARGEST + 1)))):
        check(data)


def test_all_members_together_are_bounded_those_of_inner_archives_included() -> None:
    inner = zipped(("a", bytes(LARGEST)), ("b", bytes(LARGEST)))
    check(zipped(("1.zip", inner)))
    with pytest.raises(RejectedFile, match="unpacks to more than 400,000 bytes"):
        check(zipped(("1.zip", inner), ("2.zip", inner), ("3.zip", inner)))


def test_the_number_of_members_is_bounded() -> None:
    with pytest.raises(RejectedFile, match="10,000 parts"):
        check(zipped(*((str(number), b"") for number in range(MAX_MEMBERS + 1)), method=zipfile.ZIP_STORED))


def test_the_nesting_is_bounded() -> None:
    data = b"deed"
    for _ in range(MAX_DEPTH):
        data = zipped(("a.zip", data))
    check(data)
    with pytest.raises(RejectedFile, match="archives in archives"):
        check(zipped(("a.zip", data)))


def test_an_encrypted_member_is_not_taken_for_read() -> None:
    archive = bytearray(zipped(("a", b"deed")))
    archive[6] |= 1  # in the member's own header, and in the directory
    archive[archive.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(RejectedFile, match="encrypted"):
        check(bytes(archive))


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(min_value=0), flips=st.integers(min_value=1, max_value=12), cut=st.integers(0, 200))
def test_a_damaged_archive_is_rejected_or_passes_and_never_breaks_the_check(seed: int, flips: int, cut: int) -> None:
    rng = random.Random(seed)
    methods = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    data = bytearray(zipped(("a.txt", b"a deed" * 20), ("b.zip", zipped(("c", b"x"))), method=rng.choice(methods)))
    for _ in range(flips):
        data[rng.randrange(4, len(data))] = rng.randrange(256)
    with suppress(RejectedFile):
        check(bytes(data[: len(data) - cut]))
