"""What is particular to blobs in a directory: modes, links, a full disk, the URL."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.errors import ConfigError, Conflict, InvalidInput, Unavailable
from jobqueue.services.blobs import DirectoryStore, blob_store

KEY = "t/files/a"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "blobs"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_only_the_owner_can_read_objects_and_directories(root: Path, store: DirectoryStore) -> None:
    await store.put_bytes(KEY, b"x")
    assert modes(root) == {".": 0o700, ".partial": 0o700, "t": 0o700, "t/files": 0o700, "t/files/a": 0o600}


async def test_local_gives_the_object_itself(root: Path, store: DirectoryStore) -> None:
    await store.put_bytes(KEY, b"x")
    async with store.local(KEY) as path:
        assert path == root / KEY


async def test_the_directory_of_half_made_files_is_no_part_of_the_key_space(root: Path, store: DirectoryStore) -> None:
    await store.put_bytes(KEY, b"x")
    (root / ".partial" / "rest").write_bytes(b"half")
    (root / "t" / "not a key").write_bytes(b"?")
    for key in (".partial", ".partial/rest"):
        with pytest.raises(InvalidInput):
            await store.read(key, max_bytes=10)
    assert [key async for key in store.keys("")] == [KEY]
    with pytest.raises(InvalidInput):
        await store.put_bytes(".partial/rest", b"x")
    await store.put_bytes("t/.partial", b"deeper down it is a name like any other")


async def test_links_are_not_followed(root: Path, store: DirectoryStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    await store.put_bytes(KEY, b"x")
    (root / "t" / "folder").symlink_to(outside)
    (root / "t" / "file").symlink_to(outside / "secret")
    for key in ("t/folder/secret", "t/file"):
        for attempt in (
            store.read(key, max_bytes=100),
            anext(store.stream(key)),
            store.local(key).__aenter__(),
            store.put_bytes(key, b"overwritten"),
            store.delete(key),
        ):
            with pytest.raises(Conflict, match="symbolic link"):
                await attempt
    assert [key async for key in store.keys("")] == [KEY]
    assert (outside / "secret").read_bytes() == b"secret"
    assert names(root / ".partial") == []


async def test_a_root_that_is_a_link_is_the_operators_choice(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "blobs").symlink_to(tmp_path / "disk")
    store = DirectoryStore(tmp_path / "blobs")
    await store.put_bytes(KEY, b"x")
    assert (tmp_path / "disk" / KEY).read_bytes() == b"x"


async def test_a_key_cannot_be_object_and_directory_at_once(root: Path, store: DirectoryStore) -> None:
    await store.put_bytes(KEY, b"x")
    for key in ("t", f"{KEY}/below"):
        with pytest.raises(Conflict, match="one key is the directory of another"):
            await store.put_bytes(key, b"y")
    assert await store.read(KEY, max_bytes=1) == b"x"
    assert names(root / ".partial") == []


async def test_deleting_the_last_object_removes_its_empty_directories(root: Path, store: DirectoryStore) -> None:
    await store.put_bytes("t/files/a", b"x")
    await store.put_bytes("t/other", b"x")
    await store.delete("t/files/a")
    assert names(root / "t") == ["other"]
    await store.delete("t/other")
    assert names(root) == [".partial"]


async def test_a_root_below_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = DirectoryStore(tmp_path / "file" / "blobs")
    with pytest.raises(Unavailable, match=r"storage at .*/file/blobs can't be used: .*JOBQUEUE_STORAGE_URL"):
        await store.put_bytes(KEY, b"x")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount the small disk that this test fills")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_full_disk_is_reported_for_people_and_leaves_nothing(small_disk: Path) -> None:
    store = DirectoryStore(small_disk / "blobs")
    await store.put_bytes("t/fits", b"x")
    with pytest.raises(Unavailable, match=r"the disk that holds .*/disk/blobs is full: free some space"):
        await store.put_bytes("t/too-big", bytes(2_000_000))
    assert [key async for key in store.keys("")] == ["t/fits"]
    assert names(small_disk / "blobs" / ".partial") == []
    await store.put_bytes("t/fits-too", bytes(500_000))


@pytest.mark.parametrize(
    "url",
    ["", "/tmp/blobs", "s3://bucket/x", "http://host/x", "file://host/x", "file:blobs", "file:///", "file://"],
)
def test_a_url_of_no_use_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="JOBQUEUE_STORAGE_URL"):
        blob_store(url)
