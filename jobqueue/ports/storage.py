"""Where files lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A stored object: its key, size and SHA-256 (64 hex digits)."""

    key: str
    size_bytes: int
    sha256: str


class BlobStore(Protocol):
    """Objects under ``/``-separated keys (``tenant/kind/id/name``), each at most ``max_bytes`` long.

    A key is made of segments of ``[A-Za-z0-9._-]``; anything else, and ``.`` or ``..``, is refused with
    `InvalidInput`. A missing key raises `NotFound`; an unreachable store raises `Unavailable`.
    """

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Blob:
        """Store a stream under ``key``, replacing what was there.

        Atomic: readers see the old object or the whole new one, and a failed or cancelled put leaves nothing.

        Raises:
            LimitExceeded: the stream is longer than ``max_bytes``.
        """
        ...

    async def put_file(self, key: str, path: Path) -> Blob:
        """Store a local file under ``key``; atomic as `put`."""
        ...

    async def put_bytes(self, key: str, data: bytes) -> Blob:
        """Store ``data`` under ``key``; atomic as `put`."""
        ...

    def stream(self, key: str, *, chunk_bytes: int = 1 << 18) -> AsyncIterator[bytes]:
        """The object's bytes in order."""
        ...

    async def read(self, key: str, *, max_bytes: int) -> bytes:
        """The whole object.

        Raises:
            LimitExceeded: it is longer than ``max_bytes``.
        """
        ...

    def local(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The object as a file on this machine, readable while the context is open; never to be written to."""
        ...

    async def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        ...

    async def delete(self, key: str) -> bool:
        """Remove the object; False when there was none."""
        ...

    def keys(self, prefix: str, *, older_than_s: float | None = None) -> AsyncIterator[str]:
        """Every key that starts with ``prefix``, in no promised order; only of objects put longer ago than that."""
        ...

    async def sweep_partial(self, older_than_s: float) -> int:
        """Remove what puts cut off by a crash have left behind, untouched for ``older_than_s``; how many."""
        ...

    async def sweep(self, kind: str, older_than_s: float) -> int:
        """Remove every tenant's objects ``<tenant>/<kind>/<name>`` that were put longer ago; how many."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
