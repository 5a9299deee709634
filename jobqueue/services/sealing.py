"""Secrets that have to outlive a request, sealed: the adapter of `jobqueue.ports.Seal`."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jobqueue.errors import ConfigError

_VERSION: Final = "v1."
_NONCE_BYTES: Final = 12
_PURPOSE: Final = b"jobqueue passwords of documents"
_ADVICE: Final = "set JOBQUEUE_SECRET_KEY to the same value for the server and all workers, then replay the task"


class AesGcmSeal:
    """AES-256 in Galois/Counter Mode (NIST SP 800-38D), a random nonce each, under a key derived from a text.

    Args:
        secret_key: a random text of 32 characters or more.

    >>> seal = AesGcmSeal("0123456789abcdef0123456789abcdef")
    >>> sealed = seal.seal("hunter2", of="acme/file-1")
    >>> seal.unseal(sealed, of="acme/file-1"), "hunter2" in sealed, sealed == seal.seal("hunter2", of="acme/file-1")
    ('hunter2', False, False)
    """

    def __init__(self, secret_key: str) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret_key.encode())
        self._cipher = AESGCM(key)

    def seal(self, secret: str, *, of: str) -> str:
        """As `jobqueue.ports.Seal`; ASCII."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, secret.encode(), of.encode())
        return _VERSION + base64.urlsafe_b64encode(sealed).decode()

    def unseal(self, sealed: str, *, of: str) -> str:
        """As `jobqueue.ports.Seal`."""
        try:
            raw = base64.urlsafe_b64decode(sealed.removeprefix(_VERSION))
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], of.encode()).decode()
        except (binascii.Error, ValueError, InvalidTag):
            # Without the cause: its frames hold the sealed text.
            raise ConfigError(
                f"the password of {of} was sealed with another key, or for another file: {_ADVICE}"
            ) from None


def kept_key(path: Path) -> str:
    """The key in a file that this user alone can read; made, once, by whichever process comes first.

    Raises:
        ConfigError: the file can't be read, or holds no key.
    """
    if not path.exists():
        _make(path)
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} can't be read ({exc}): restore it, or set JOBQUEUE_SECRET_KEY") from exc
    if len(key) < 32:  # noqa: PLR2004  # as of the setting
        raise ConfigError(f"{path} holds no key: restore it, or remove it to have another made")
    return key


def _make(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        # Several processes start at once: a link, unlike a rename, never takes the place of the key another uses.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
