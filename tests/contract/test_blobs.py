"""Every adapter of `ports.BlobStore` passes this suite."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.errors import InvalidInput, LimitExceeded, NotFound
from jobqueue.ports import BlobStore
from jobqueue.services.blobs import blob_store

KEY = "tenant-1/files/file-1/original.pdf"
DATA = random.Random(1).randbytes(3_000_000)  # more than one batch, and no multiple of one
BAD_KEYS = [
    *("", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/./b", "../a", "/etc/passwd", "a\\b", "a b", "ä", "a\0"),
    *("a\n", "a/b\n", "~/a", "%2e%2e/a", "a" * 513, "a" * 256, "\ud800"),
]


@pytest.fixture(params=["directory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    opened = blob_store((tmp_path / "with space" / "blobs").as_uri())
    yield opened
    await opened.close()


async def chunked(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def collected(items: AsyncIterator[str]) -> list[str]:
    return sorted([item async for item in items])


async def read(store: BlobStore, key: str = KEY) -> bytes:
    return await store.read(key, max_bytes=10_000_000)


# ── content ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 65_536, 1 << 20, len(DATA)])
async def test_what_was_put_comes_back_with_its_size_and_hash(store: BlobStore, size: int) -> None:
    data = DATA[:size]
    blob = await store.put(KEY, chunked(data), max_bytes=size)
    assert (blob.key, blob.size_bytes, blob.sha256) == (KEY, size, hashlib.sha256(data).hexdigest())
    assert await store.read(KEY, max_bytes=size) == data
    assert b"".join([chunk async for chunk in store.stream(KEY, chunk_bytes=10_000)]) == data
    async with store.local(KEY) as path:
        assert path.read_bytes() == data


async def test_bytes_and_files_can_be_put_too(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    blob = await store.put_file(KEY, source)
    assert (blob.size_bytes, blob.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert await read(store) == DATA
    assert (await store.put_bytes(KEY, b"new")).sha256 == hashlib.sha256(b"new").hexdigest()
    assert await read(store) == b"new"


async def test_a_stream_that_has_begun_gives_the_object_it_began_with(store: BlobStore) -> None:
    await store.put_bytes(KEY, DATA)
    stream = store.stream(KEY, chunk_bytes=100_000)
    got = await anext(stream)
    await store.put_bytes(KEY, b"new")
    got += b"".join([chunk async for chunk in stream])
    assert got == DATA


async def test_many_objects_can_be_put_at_a_time(store: BlobStore) -> None:
    keys = [f"t/{number % 5}/{number}" for number in range(40)]
    await asyncio.gather(*(store.put_bytes(key, key.encode()) for key in keys))
    assert [await read(store, key) for key in keys] == [key.encode() for key in keys]


# ── missing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["nothing", "tenant-1/files", KEY + "/below"])
async def test_what_is_not_there_is_not_found(store: BlobStore, key: str) -> None:
    await store.put_bytes(KEY, b"x")
    with pytest.raises(NotFound, match="there is no stored object"):
        await read(store, key)
    with pytest.raises(NotFound):
        await anext(store.stream(key))
    with pytest.raises(NotFound):
        async with store.local(key):
            pytest.fail("opened")
    assert not await store.exists(key)
    assert not await store.delete(key)
    assert await store.exists(KEY)


async def test_a_deleted_object_is_gone_and_its_key_free_again(store: BlobStore) -> None:
    await store.put_bytes(KEY, b"x")
    assert await store.delete(KEY)
    assert not await store.exists(KEY)
    assert not await store.delete(KEY)
    await store.put_bytes(KEY, b"y")
    assert await read(store) == b"y"


async def test_puts_and_deletes_in_one_place_do_not_trip_over_each_other(store: BlobStore) -> None:
    async def one(number: int) -> None:
        for _ in range(20):
            await store.put_bytes(f"t/shared/{number}", b"x")
            assert await store.delete(f"t/shared/{number}")

    await asyncio.gather(*(one(number) for number in range(6)))
    assert await collected(store.keys("")) == []


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_that_is_too_long_is_cut_off_at_once_and_leaves_the_old_object(store: BlobStore) -> None:
    await store.put_bytes(KEY, b"old")
    asked_for = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked_for
        while True:
            asked_for += 1
            yield bytes(1000)

    with pytest.raises(LimitExceeded, match="longer than the 3,000,000 bytes"):
        await store.put(KEY, endless(), max_bytes=3_000_000)
    assert asked_for == 3001
    assert await read(store) == b"old"


async def test_an_object_that_is_too_long_is_not_read(store: BlobStore) -> None:
    await store.put_bytes(KEY, bytes(11))
    with pytest.raises(LimitExceeded, match="10 bytes"):
        await store.read(KEY, max_bytes=10)


# ── atomicity ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_put_whose_source_breaks_leaves_the_old_object(store: BlobStore) -> None:
    await store.put_bytes(KEY, b"old")

    async def breaks() -> AsyncIterator[bytes]:
        yield DATA
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError, match="went away"):  # the source's own error, not the store's
        await store.put(KEY, breaks(), max_bytes=10_000_000)
    assert await read(store) == b"old"
    assert await collected(store.keys("")) == [KEY]
    assert await store.sweep_partial(-1) == 0


async def test_a_sweep_takes_old_objects_of_its_kind_of_every_tenant_and_nothing_else(store: BlobStore) -> None:
    swept = ["one/answers/a.json", "two/answers/b.json", "two/answers/c"]
    stay = ["one/answers/deeper/d", "one/answer/e", "answers/f", "answers/g/h", "one/files/answers/i"]
    for key in (*swept, *stay):
        await store.put_bytes(key, b"x")
    assert await store.sweep("answers", 3600) == 0
    assert await store.sweep("answers", -1) == 3
    assert await store.sweep("answers", -1) == 0
    assert await collected(store.keys("")) == sorted(stay)


async def test_a_cancelled_put_leaves_nothing(store: BlobStore) -> None:
    halfway = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield DATA
        halfway.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put(KEY, stalls(), max_bytes=10_000_000))
    await halfway.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await store.exists(KEY)
    assert await store.sweep_partial(-1) == 0


async def test_a_put_cancelled_at_any_moment_is_whole_or_absent_and_leaves_no_remains(store: BlobStore) -> None:
    outcomes = set()
    for turns in range(0, 1200, 20):  # each turn of the event loop is another moment of a put's life
        task = asyncio.create_task(store.put(KEY, chunked(DATA, 1_000_000), max_bytes=10_000_000))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        outcomes.add((task.cancelled(), await store.exists(KEY)))
        if await store.exists(KEY):
            assert await read(store) == DATA
            await store.delete(KEY)
        assert await store.sweep_partial(-1) == 0
    assert (True, False) in outcomes
    assert (False, False) not in outcomes


async def test_readers_see_the_old_object_or_the_new_one(store: BlobStore) -> None:
    versions = [bytes([number]) * 300_000 for number in range(10)]
    await store.put_bytes(KEY, versions[0])

    async def write() -> None:
        for version in versions:
            await store.put_bytes(KEY, version)

    writer = asyncio.create_task(write())
    seen = 0
    while not writer.done():
        assert await read(store) in versions
        seen += 1
    await writer
    assert seen > 1


async def test_what_a_crash_left_behind_is_swept_once_it_is_old(store: BlobStore, tmp_path: Path) -> None:
    halfway = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield DATA
        halfway.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put(KEY, slow(), max_bytes=10_000_000))
    await halfway.wait()
    assert await store.sweep_partial(3600) == 0  # still being written to
    assert await store.sweep_partial(-1) == 1
    task.cancel()
    await asyncio.wait({task})


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_malformed_key_is_refused_by_every_method(store: BlobStore, key: str) -> None:
    for attempt in (
        store.put(key, chunked(b"x"), max_bytes=1),
        store.put_bytes(key, b"x"),
        read(store, key),
        anext(store.stream(key)),
        store.local(key).__aenter__(),
        store.exists(key),
        store.delete(key),
    ):
        with pytest.raises(InvalidInput, match="is not a storage key"):
            await attempt


@given(key=st.text(alphabet="abAB09._-/", max_size=40))
def test_any_key_is_stored_under_itself_or_refused(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    async def put(store: BlobStore) -> list[str]:
        await store.put_bytes(key, b"x")
        return await collected(store.keys(""))

    directory = tmp_path_factory.mktemp("any")
    try:
        assert asyncio.run(put(blob_store((directory / "blobs").as_uri()))) == [key]
    except InvalidInput:
        assert list(directory.iterdir()) == []


async def test_keys_are_listed_by_prefix(store: BlobStore) -> None:
    everything = ["a", "ab/c", "ab/d/e", "b/c", "t-1/x/1", "t-1/x/10", "t-10/x/1"]
    for key in everything:
        await store.put_bytes(key, b"")
    for prefix in ("", "a", "ab", "ab/", "ab/d", "ab/d/", "t-1", "t-1/", "t-1/x/1", "zz", "zz/y", "a/b"):
        expected = [key for key in everything if key.startswith(prefix)]
        assert await collected(store.keys(prefix)) == expected, prefix


async def test_keys_can_be_listed_by_their_objects_age(store: BlobStore) -> None:
    await store.put_bytes("a/b", b"")
    assert await collected(store.keys("a", older_than_s=3600)) == []
    assert await collected(store.keys("a", older_than_s=-3600)) == ["a/b"]


@pytest.mark.parametrize("prefix", ["..", "../", "a/../b", "/", "/etc/", "a b", "\0", "a\n"])
async def test_a_prefix_that_leads_elsewhere_is_refused(store: BlobStore, prefix: str) -> None:
    with pytest.raises(InvalidInput, match="not the beginning of a storage key"):
        await collected(store.keys(prefix))
