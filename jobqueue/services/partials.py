"""A file being written: it appears under its name by one rename, whole and on disk, or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

_RENAME_ATTEMPTS: Final = 20


class Partial:
    """One object on its way: ``open``, ``write`` …, ``sync``, ``rename``; ``discard`` at the end in any case.

    Blocking, and used by one thread at a time.

    Args:
        directory: where half-made files lie; on the file system of the target.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / token_hex(16)
        self._descriptor = -1
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """Of what has been written, as 64 hex digits."""
        return self._hash.hexdigest()

    def open(self) -> None:
        """Make the file, readable by its owner alone."""
        make_directory(self._path.parent)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes | bytearray) -> None:
        """Append ``data``."""
        self._hash.update(data)
        self.size_bytes += len(data)
        left = memoryview(data)
        while left:  # a write may be short, on a disk that is nearly full
            left = left[os.write(self._descriptor, left) :]

    def sync(self) -> None:
        """Force the content to disk: before it has its name, or a crash could leave the name with no content."""
        os.fsync(self._descriptor)

    def rename(self, target: Path) -> None:
        """Give the content its name, in place of what had it, and force the name to disk.

        Raises:
            IsADirectoryError, NotADirectoryError: the name is taken by a directory, or leads through a file.
        """
        for attempt in range(1, _RENAME_ATTEMPTS + 1):
            try:
                make_directory(target.parent)
                self._path.replace(target)
                break
            except FileNotFoundError:  # somebody removed the directory, empty until now, in between
                if attempt == _RENAME_ATTEMPTS:
                    raise
        _sync_directory(target.parent)

    def discard(self) -> None:
        """Close the file, and remove it unless it was renamed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._path.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory and its parents with mode 0700 where they are missing, and force their names to disk."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with suppress(FileExistsError):  # another put was faster; or it is a file, as the next step will find out
        path.mkdir(mode=0o700)
    _sync_directory(path.parent)


def remove_older(directory: Path, older_than_s: float) -> int:
    """Remove the files of ``directory`` that were last written to more than ``older_than_s`` ago; how many."""
    limit = time.time() - older_than_s
    removed = 0
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # its writer has just finished
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < limit:
                    Path(entry.path).unlink()
                    removed += 1
    return removed


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
