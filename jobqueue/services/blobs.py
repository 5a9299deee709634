"""Objects as files below one directory: `jobqueue.ports.BlobStore` on a local disk.

``root/<key>`` is an object; ``root/.partial/`` holds what is being written. Both lie on one file system, so that an
object appears by a rename, whole or not at all.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from errno import EDQUOT, ENOSPC
from io import FileIO
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

from jobqueue.errors import ConfigError, Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from jobqueue.ports import Blob, BlobStore
from jobqueue.services.partials import Partial, remove_older

T = TypeVar("T")

_PARTIAL: Final = ".partial"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")  # 255: the longest name a Linux file system takes
_PREFIX: Final = re.compile(r"(?!/)[A-Za-z0-9._/-]*")
_MAX_KEY_CHARS: Final = 512
# Handed to a thread at once: at this size the hop (about 0.1 ms) is small beside hashing and writing (1 ms or more).
_BATCH_BYTES: Final = 1 << 20
_NO_OBJECT: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


def blob_store(url: str) -> BlobStore:
    """The store that a storage URL names: ``file:///absolute/path``.

    Raises:
        ConfigError: another scheme, or no absolute path below ``/``.

    >>> blob_store("s3://bucket")
    Traceback (most recent call last):
        ...
    jobqueue.errors.ConfigError: JOBQUEUE_STORAGE_URL: 's3' is not a known kind of storage; use file:///absolute/path
    """
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise ConfigError(
            f"JOBQUEUE_STORAGE_URL: {parts.scheme!r} is not a known kind of storage; use file:///absolute/path"
        )
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or not path.is_absolute() or path == Path("/"):
        raise ConfigError("JOBQUEUE_STORAGE_URL: a directory is written file:///absolute/path")
    return DirectoryStore(path)


class DirectoryStore:
    """Implements `jobqueue.ports.BlobStore` below ``root``, which is made (mode 0700) with the first object.

    Blocking calls run in threads. Symbolic links below ``root`` are never followed. A put that is cancelled during
    its very last step, the rename, may have stored the whole object.

    >>> import tempfile
    >>> async def main(directory: str) -> None:
    ...     store = DirectoryStore(Path(directory) / "blobs")
    ...     blob = await store.put_bytes("tenant-1/files/a.txt", b"abc")
    ...     print(blob.size_bytes, blob.sha256[:8], await store.read(blob.key, max_bytes=10))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     asyncio.run(main(directory))
    3 ba7816bf b'abc'
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))

    @property
    def root(self) -> Path:
        """The directory, links resolved: below it lies what `local` gives."""
        return self._root

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Blob:
        _check(key)
        partial = Partial(self._root / _PARTIAL)
        try:
            await self._io(partial.open)
            batch, total = bytearray(), 0
            async for chunk in chunks:
                total += len(chunk)
                if total > max_bytes:
                    raise LimitExceeded(f"{key} is longer than the {max_bytes:,} bytes it may have")
                batch += chunk
                if len(batch) >= _BATCH_BYTES:
                    await self._io(partial.write, batch)
                    batch = bytearray()
            await self._io(partial.write, batch)
            await self._io(partial.sync)
            await self._io(self._rename, partial, key)
        finally:
            await self._io(partial.discard)
        return Blob(key=key, size_bytes=partial.size_bytes, sha256=partial.sha256)

    async def put_file(self, key: str, path: Path) -> Blob:
        return await self.put(key, _chunks(path), max_bytes=sys.maxsize)

    async def put_bytes(self, key: str, data: bytes) -> Blob:
        return await self.put(key, _once(data), max_bytes=len(data))

    async def delete(self, key: str) -> bool:
        return await self._io(self._delete, key)

    async def sweep_partial(self, older_than_s: float) -> int:
        """Remove what writers that died have left behind, unless it was written to in the last ``older_than_s``.

        Returns:
            How many files were removed.
        """
        return await self._io(remove_older, self._root / _PARTIAL, older_than_s)

    async def sweep(self, kind: str, older_than_s: float) -> int:
        return await self._io(self._sweep, kind, older_than_s)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 18) -> AsyncIterator[bytes]:
        """The object's bytes in order; one put over meanwhile is not mixed in."""
        with ExitStack() as stack:
            # Put on the stack by the thread itself: when the caller is cancelled meanwhile, the file is closed too.
            file = await self._io(lambda: stack.enter_context(self._open(key)))
            while chunk := await self._io(file.read, chunk_bytes):
                yield chunk

    async def read(self, key: str, *, max_bytes: int) -> bytes:
        return await self._io(self._read, key, max_bytes)

    @asynccontextmanager
    async def local(self, key: str) -> AsyncIterator[Path]:
        """The object's own file: there is no copy to pay for, hence never to be written to."""
        if not await self.exists(key):
            raise _missing(key)
        yield self._path(key)

    async def exists(self, key: str) -> bool:
        return await self._io(lambda: self._path(key).is_file())

    async def keys(self, prefix: str, *, older_than_s: float | None = None) -> AsyncIterator[str]:
        if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/")):
            raise InvalidInput(f"{prefix[:80]!r} is not the beginning of a storage key")
        limit = None if older_than_s is None else time.time() - older_than_s
        pending = [prefix.rpartition("/")[0]]
        while pending:  # a directory at a time: memory stays bounded by the largest
            folder = pending.pop()
            objects, folders = await self._io(self._scan, folder, limit)
            for key in objects:
                if key.startswith(prefix):
                    yield key
            pending += [name for name in folders if f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/")]

    async def close(self) -> None:
        """Nothing is held open between calls."""

    # ── blocking, in threads ─────────────────────────────────────────────────────────────────────────────────────

    async def _io(self, function: Callable[..., T], /, *args: object) -> T:
        """Call ``function`` in a thread; what the disk says against it becomes `Unavailable`."""
        try:
            return await _in_thread(function, *args)
        except OSError as exc:
            raise _unavailable(self._root, exc) from exc

    def _path(self, key: str) -> Path:
        _check(key)
        path = self._root / key
        if os.path.realpath(path) != str(path):
            raise Conflict(f"{key} leads through a symbolic link below {self._root}, and links are not followed")
        return path

    def _rename(self, partial: Partial, key: str) -> None:
        try:
            partial.rename(self._path(key))
        except (IsADirectoryError, NotADirectoryError) as exc:
            raise Conflict(f"{key} can't be stored: one key is the directory of another") from exc

    def _open(self, key: str) -> FileIO:
        try:
            return FileIO(self._path(key))
        except _NO_OBJECT as exc:
            raise _missing(key) from exc

    def _read(self, key: str, max_bytes: int) -> bytes:
        with self._open(key) as file:
            if os.fstat(file.fileno()).st_size > max_bytes:
                raise LimitExceeded(f"{key} is longer than the {max_bytes:,} bytes that may be read at once")
            return file.readall()

    def _delete(self, key: str) -> bool:
        path = self._path(key)
        try:
            path.unlink()
        except _NO_OBJECT:
            return False
        with suppress(OSError):  # ends at the first directory that is not empty
            for parent in path.parents[: key.count("/")]:
                parent.rmdir()
        return True

    def _sweep(self, kind: str, older_than_s: float) -> int:
        removed = 0
        for tenant in self._scan("")[1]:
            with suppress(*_NO_OBJECT, Conflict):  # a link, which isn't followed
                removed += remove_older(self._path(f"{tenant}/{kind}"), older_than_s)
        return removed

    def _scan(self, folder: str, limit: float | None = None) -> tuple[list[str], list[str]]:
        """The keys of the objects right below ``folder``, put before ``limit`` (epoch seconds), and of its folders."""
        objects: list[str] = []
        folders: list[str] = []
        directory = self._path(folder) if folder else self._root
        lead = f"{folder}/" if folder else ""
        with suppress(*_NO_OBJECT), os.scandir(directory) as entries:
            for entry in entries:
                if not _SEGMENT.fullmatch(entry.name):  # not ours: no key can name it
                    continue
                if entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        if limit is None or entry.stat(follow_symlinks=False).st_mtime < limit:
                            objects.append(lead + entry.name)
                elif entry.is_dir(follow_symlinks=False) and lead + entry.name != _PARTIAL:
                    folders.append(lead + entry.name)
        return objects, folders


async def _in_thread(function: Callable[..., T], /, *args: object) -> T:
    """As `asyncio.to_thread`, but a cancelled caller leaves only when the thread is done.

    Otherwise the caller would close and remove the file that the thread is still writing to.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({call})
        call.exception()  # seen, though the cancellation matters more
        raise


def _check(key: str) -> None:
    segments = key.split("/")
    well_formed = all(_SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in segments)
    if len(key) > _MAX_KEY_CHARS or not well_formed or segments[0] == _PARTIAL:
        raise InvalidInput(
            f"{key[:80]!r} is not a storage key: at most {_MAX_KEY_CHARS} characters, parts of letters, digits, "
            "'.', '_' and '-', separated by '/'"
        )


def _missing(key: str) -> NotFound:
    return NotFound(f"there is no stored object {key}")


def _unavailable(root: Path, exc: OSError) -> Unavailable:
    if exc.errno in {ENOSPC, EDQUOT}:
        return Unavailable(f"the disk that holds {root} is full: free some space, or move JOBQUEUE_STORAGE_URL")
    return Unavailable(f"storage at {root} can't be used: {exc.strerror or exc}; see JOBQUEUE_STORAGE_URL")


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with ExitStack() as stack:
        file = await _in_thread(lambda: stack.enter_context(FileIO(path)))
        while chunk := await _in_thread(file.read, _BATCH_BYTES):
            yield chunk


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
