"""The pure decisions about hostile strings: file names, hosts, origins."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.server.guard import host_name, is_loopback, same_origin
from jobqueue.server.uploads import MAX_NAME_CHARS, clean_name


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Kaufvertrag.pdf", "Kaufvertrag.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\deed.pdf", "deed.pdf"),
        ("deed\x00\r\n.pdf", "deed.pdf"),
        ("deed\u202efdp.exe", "deedfdp.exe"),  # shown as "deedexe.pdf" by what honours the override
        ("..", "unnamed"),
        ("", "unnamed"),
        ("/", "unnamed"),
        ("\ud800.pdf", ".pdf"),  # a lone surrogate can be stored nowhere
        ("  a\t b .pdf ", "a b .pdf"),
        ("Cafe\u0301.pdf", "Caf\u00e9.pdf"),
        ("<img src=x onerror=alert(1)>.pdf", "<img src=x onerror=alert(1)>.pdf"),  # odd, but only text
        ("a" * 300 + ".pdf", "a" * 251 + ".pdf"),
        ("a." + "b" * 300, "a." + "b" * 253),
    ],
)
def test_a_file_name_is_cleaned_to_a_base_name(name: str, clean: str) -> None:
    assert clean_name(name) == clean


@given(st.text(st.characters(codec=None), max_size=600))
def test_whatever_a_file_is_called_its_clean_name_is_harmless(name: str) -> None:
    clean = clean_name(name)
    assert 1 <= len(clean) <= MAX_NAME_CHARS
    assert "/" not in clean
    assert "\\" not in clean
    assert clean not in {".", ".."}
    assert not any(unicodedata.category(char).startswith("C") for char in clean)
    clean.encode()
    assert clean_name(clean) == clean


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST.:8484", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8484", "::1"),
        ("", None),
        ("localhost:8484:1", None),
        ("user@localhost", None),
        ("localhost/evil", None),
        ("localhost evil", None),
        ("localhost:123456", None),
        ("::1", None),
    ],
)
def test_a_host_header_is_taken_apart_strictly(authority: str, name: str | None) -> None:
    assert host_name(authority) == name


@pytest.mark.parametrize(
    "name",
    ["evil.example", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.1", "localhost.evil.example", "2130706433", ""],
)
def test_no_other_name_passes_for_the_loopback(name: str) -> None:
    assert not is_loopback(name)


@pytest.mark.parametrize(
    ("origin", "same"),
    [
        ("http://localhost:8484", True),
        ("https://LOCALHOST:8484", True),
        ("http://localhost:8485", False),
        ("http://localhost", False),
        ("http://evil.example", False),
        ("http://evil.example@localhost:8484", False),
        ("null", False),
        ("", False),
        ("file://localhost:8484", False),
        ("http://[bad", False),
    ],
)
def test_an_origin_is_ours_only_when_host_and_port_agree(origin: str, same: bool) -> None:
    assert same_origin(origin, "localhost:8484") is same
