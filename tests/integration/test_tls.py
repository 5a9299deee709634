"""``rediss`` to one server, Sentinel and Cluster: verified, client certificates, and errors that say what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from arq.connections import create_pool as arq_pool
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobqueue import client as client_
from jobqueue import settings
from jobqueue.broker.connection import arq_settings, close_pool, open_pool, resolve
from jobqueue.broker.embedded import EmbeddedRedis, find_server
from jobqueue.broker.keys import queue_name
from jobqueue.errors import ConfigError, JobqueueError, Unavailable
from jobqueue.settings import TlsFiles
from tests.engine_support import running_worker, wait_until
from tests.integration.cluster_support import cluster, server
from tests.integration.tls_support import Authority, tls_front

FreePort = Callable[[], int]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.found(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def free_port(unused_tcp_port_factory: FreePort) -> FreePort:
    return unused_tcp_port_factory


@asynccontextmanager
async def fronted(tmp_path: Path, free_port: FreePort, authority: Authority, **shown: Any) -> AsyncIterator[str]:
    """An embedded server with a password behind TLS; gives its URL."""
    plain, secure = free_port(), free_port()
    async with (
        EmbeddedRedis(tmp_path / "data", port=plain) as endpoint,
        tls_front(secure, plain, authority.server_context(**shown)),
    ):
        yield f"rediss://:{endpoint.password}@localhost:{secure}"


async def refused(url: str, tls: TlsFiles, error: type[JobqueueError] = ConfigError) -> str:
    with pytest.raises(error) as raised:
        await client_.create_pool(url, tls=tls)
    return str(raised.value)


async def f(ctx: object) -> str:
    return "done"


async def runs_a_job(url: str, tmp_path: Path, tls: TlsFiles) -> None:
    async def connect() -> Any:
        return open_pool(resolve(url, tmp_path, tls), queue=queue_name("ingest"))

    pool = await client_.create_pool(url, tls=tls)
    try:
        cluster_ = {"cluster": True} if pool.on_cluster else {}
        async with (
            client_.Client(pool, ["ingest"]) as client,
            running_worker("redis://unused", f, extra={"connect": connect} | cluster_),
        ):
            job = await pool.enqueue_job("f")
            assert job is not None
            assert await client.result(job.job_id, timeout_s=5) == "done"
    finally:
        await close_pool(pool)


async def test_a_job_runs_over_tls_and_the_server_is_verified(
    tmp_path: Path, free_port: FreePort, authority: Authority
) -> None:
    async with fronted(tmp_path, free_port, authority) as url:
        await runs_a_job(url, tmp_path, TlsFiles(ca=authority.ca))
        assert "set JOBQUEUE_REDIS_CA_FILE" in await refused(url, TlsFiles())
        stranger = Authority.found(tmp_path / "stranger")
        assert "set JOBQUEUE_REDIS_CA_FILE" in await refused(url, TlsFiles(ca=stranger.ca))


async def test_the_certificate_must_be_made_out_to_the_host(
    tmp_path: Path, free_port: FreePort, authority: Authority
) -> None:
    async with fronted(tmp_path, free_port, authority, names="DNS:redis.example") as url:
        tls = TlsFiles(ca=authority.ca)
        assert "JOBQUEUE_REDIS_CHECK_HOSTNAME=false" in await refused(url, tls)
        await runs_a_job(url, tmp_path, replace(tls, check_hostname=False))


async def test_a_server_that_asks_for_a_certificate_gets_it(
    tmp_path: Path, free_port: FreePort, authority: Authority
) -> None:
    async with fronted(tmp_path, free_port, authority, ask=True) as url:
        tls = TlsFiles(ca=authority.ca)
        assert "ask for a client's certificate (JOBQUEUE_REDIS_CERT_FILE)" in await refused(url, tls, Unavailable)
        cert, key = authority.sign("client")
        mine = replace(tls, cert=cert, key=key)
        await runs_a_job(url, tmp_path, mine)

        plain_arq = await arq_pool(arq_settings(resolve(url, tmp_path, mine)))  # as `arq --check` connects
        assert await plain_arq.ping()
        await plain_arq.aclose(close_connection_pool=True)

        cert, key = Authority.found(tmp_path / "stranger").sign("client")
        with pytest.raises(JobqueueError):  # what the client sees of it depends on who is first to hang up
            await client_.create_pool(url, tls=replace(tls, cert=cert, key=key))


async def test_an_expired_certificate_is_named_as_such(
    tmp_path: Path, free_port: FreePort, authority: Authority
) -> None:
    async with fronted(tmp_path, free_port, authority, days=-1) as url:
        assert "has expired" in await refused(url, TlsFiles(ca=authority.ca))


async def test_tls_to_a_plain_port_is_named_as_such(tmp_path: Path, free_port: FreePort) -> None:
    port = free_port()
    async with EmbeddedRedis(tmp_path, port=port):
        assert "does that port speak TLS" in await refused(f"rediss://localhost:{port}", TlsFiles(), Unavailable)

    async def protected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-DENIED Redis is running in protected mode\r\n")  # before it has read anything
        await reader.read()
        writer.close()

    async with await asyncio.start_server(protected, "127.0.0.1", free_port()) as listening:
        port = listening.sockets[0].getsockname()[1]
        assert "that port doesn't speak TLS" in await refused(f"rediss://localhost:{port}", TlsFiles())


async def test_a_wrong_password_is_told_over_tls_too(tmp_path: Path, free_port: FreePort, authority: Authority) -> None:
    async with fronted(tmp_path, free_port, authority) as url:
        wrong = f"rediss://:wrong@{url.partition('@')[2]}"
        assert "user and password in JOBQUEUE_REDIS_URL" in await refused(wrong, TlsFiles(ca=authority.ca))


async def test_sentinel_and_its_primary_are_reached_over_tls(
    tmp_path: Path, free_port: FreePort, authority: Authority
) -> None:
    primary, watcher, primary_front, watcher_front = (free_port() for _ in range(4))
    context = authority.server_context(names="DNS:localhost,IP:127.0.0.1", ask=True)
    cert, key = authority.sign("client")
    config = tmp_path / "sentinel.conf"
    await asyncio.to_thread(
        config.write_text,
        f"port {watcher}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {primary_front} 1\n",
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server(tmp_path, primary))
        await stack.enter_async_context(tls_front(primary_front, primary, context))
        await stack.enter_async_context(tls_front(watcher_front, watcher, context))
        sentinel = await asyncio.create_subprocess_exec(
            str(find_server()), str(config), "--sentinel", stdout=asyncio.subprocess.DEVNULL
        )
        stack.push_async_callback(sentinel.wait)
        stack.callback(sentinel.terminate)
        async with Redis(port=watcher) as redis:

            async def watches() -> bool:
                try:
                    (state,) = (await redis.sentinel_masters()).values()  # type: ignore[no-untyped-call]  # redis-py
                except (RedisError, OSError):
                    return False
                return not state["is_disconnected"]

            await wait_until(watches, within_s=10, what="the Sentinel")
        tls = TlsFiles(ca=authority.ca, cert=cert, key=key)
        await runs_a_job(f"rediss+sentinel://127.0.0.1:{watcher_front}/main", tmp_path, tls)


async def test_a_cluster_is_reached_over_tls(tmp_path: Path, free_port: FreePort, authority: Authority) -> None:
    context = authority.server_context(names="DNS:localhost,IP:127.0.0.1")
    fronts: dict[int, int] = {}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster(tmp_path, free_port, fronts=fronts))
        for port, front in fronts.items():
            await stack.enter_async_context(tls_front(front, port, context))
        url = "rediss+cluster://" + ",".join(f"127.0.0.1:{front}" for front in fronts.values())
        await runs_a_job(url, tmp_path, TlsFiles(ca=authority.ca))


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_files_of_the_settings_are_checked_when_they_are_read(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.sign("client")
    loaded = settings.load(redis_ca_file=authority.ca, redis_cert_file=cert, redis_key_file=key)
    assert loaded.redis_tls == TlsFiles(ca=authority.ca, cert=cert, key=key)
    _, other_key = authority.sign("other")
    (tmp_path / "empty.pem").touch()
    for wrong, told in (
        ({"redis_ca_file": tmp_path / "missing.pem"}, "JOBQUEUE_REDIS_CA_FILE: .*missing.pem"),
        ({"redis_ca_file": tmp_path / "empty.pem"}, "JOBQUEUE_REDIS_CA_FILE: .*empty.pem"),
        ({"redis_cert_file": cert}, "set both or neither"),
        ({"redis_key_file": key}, "set both or neither"),
        ({"redis_cert_file": cert, "redis_key_file": other_key}, "JOBQUEUE_REDIS_KEY_FILE=.*other.key can't be used"),
        ({"redis_cert_file": cert, "redis_key_file": authority.encrypted(key)}, "the key is encrypted"),
    ):
        with pytest.raises(ConfigError, match=told):
            settings.load(**wrong)
