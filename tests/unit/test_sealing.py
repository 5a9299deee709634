"""Sealed secrets, the key they are sealed with, and where that comes from."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobqueue import settings
from jobqueue.app import _seal
from jobqueue.errors import ConfigError
from jobqueue.services.sealing import AesGcmSeal, kept_key

KEY = "a key of thirty-two characters!!"


def test_a_secret_opens_with_its_key_for_what_it_belongs_to_and_nothing_else() -> None:
    sealed = AesGcmSeal(KEY).seal("Grüße", of="acme/file-1")
    assert AesGcmSeal(KEY).unseal(sealed, of="acme/file-1") == "Grüße"
    altered = sealed[:-4] + ("AAA=" if sealed[-4:] != "AAA=" else "BBB=")
    for seal, text, of in (
        (AesGcmSeal(KEY[::-1]), sealed, "acme/file-1"),
        (AesGcmSeal(KEY), sealed, "acme/file-2"),
        (AesGcmSeal(KEY), altered, "acme/file-1"),
        (AesGcmSeal(KEY), "v1.", "acme/file-1"),
        (AesGcmSeal(KEY), "Grüße", "acme/file-1"),
    ):
        with pytest.raises(ConfigError, match="JOBQUEUE_SECRET_KEY") as caught:
            seal.unseal(text, of=of)
        assert "Grüße" not in str(caught.value)


def test_processes_that_start_at_once_agree_on_one_key_that_only_this_user_can_read(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    with ThreadPoolExecutor(8) as starters:
        keys = set(starters.map(lambda _: kept_key(path), range(64)))
    assert len(keys) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret-key"]


def test_a_damaged_key_file_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    path.write_text("short")
    with pytest.raises(ConfigError, match="holds no key: restore it"):
        kept_key(path)


def test_a_key_is_made_for_the_embedded_redis_alone(tmp_path: Path) -> None:
    assert _seal(settings.load(data_dir=tmp_path)) is not None
    assert (tmp_path / "secret-key").exists()
    elsewhere = tmp_path / "elsewhere"
    assert _seal(settings.load(data_dir=elsewhere, redis_url="redis://redis:6379")) is None
    assert not elsewhere.exists()
    given = _seal(settings.load(data_dir=elsewhere, redis_url="redis://redis:6379", secret_key=KEY))
    assert given is not None
    assert given.unseal(AesGcmSeal(KEY).seal("x", of="y"), of="y") == "x"
    with pytest.raises(ConfigError, match=r"SECRET_KEY: .*32 "):
        settings.load(secret_key="short")
