"""Everything on this machine: Redis, one worker process per queue, and the server in this process."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web

from jobqueue import queues
from jobqueue.app import open_server
from jobqueue.broker.embedded import EmbeddedRedis
from jobqueue.cli.common import first_of
from jobqueue.cli.local_files import address_file, key_file, log_dir
from jobqueue.cli.processes import Program, keep_running, open_log
from jobqueue.errors import ConfigError, Denied, Unavailable
from jobqueue.ports import Records
from jobqueue.server.auth import Access, mint_api_key
from jobqueue.settings import EMBEDDED, Settings
from jobqueue.telemetry import logs

TENANT: Final = "default"
"""Whom the first API key is made for."""

_SHUTDOWN_S: Final = 5.0  # how long a request may still take when the server stops


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A listening server: its address, this machine's API key, and a link that opens the page once."""

    url: str
    api_key: str = field(repr=False)
    login_url: str = field(repr=False)


@asynccontextmanager
async def everything(
    config: Settings, say: Callable[[str], None], *, ports: Iterable[int], tries: int | None = None
) -> AsyncIterator[Served]:
    """Run it all; stops the server first, then the workers, Redis last.

    Args:
        config: as loaded.
        say: told when a worker is started again.
        ports: the server takes the first that is free.
        tries: as `keep_running` has it.

    Raises:
        ConfigError: a setting or an installation is at fault, or no port is free.
        Conflict: the data directory is in use.
        Unavailable: Redis, or a worker ``tries`` times, stopped by itself.
    """
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    programs = [_worker(config, name) for name in queues.load(config.queues_file)]
    async with AsyncExitStack() as stack:
        stack.enter_context(_logging_to(log_dir(config) / "server.jsonl", config.log_level))
        redis = None
        if config.redis_url == EMBEDDED:
            redis = EmbeddedRedis(config.data_dir, sync_every_write=config.durable == "disk")
            await stack.enter_async_context(redis)
            _link(log_dir(config) / "redis.log", "../redis/server.log")
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(keep_running(program, say, tries=tries), name=program.name)
                    for program in programs
                ]
                if redis is not None:
                    tasks.append(group.create_task(_watch(redis, config), name="redis"))
                async with serving(config, ports=ports) as served:
                    stack.enter_context(_published(address_file(config), served.url))
                    try:
                        yield served
                    except asyncio.CancelledError:
                        say(f"stopping; running jobs have {config.grace_s:g} s to finish, a second Ctrl-C won't wait")
                        raise
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as several:
            raise first_of(several) from None


async def _watch(redis: EmbeddedRedis, config: Settings) -> None:
    await redis.wait_stopped()
    raise Unavailable(f"Redis has stopped; its log: {config.data_dir / 'redis' / 'server.log'}")


def _worker(config: Settings, name: str) -> Program:
    arq = Path(sys.executable).with_name("arq")
    if not arq.exists():
        raise ConfigError(f"there is no command {arq}: install jobqueue[worker] into this environment")
    return Program(
        name=f"worker {name}",
        command=[str(arq), f"jobqueue.worker.{name.title()}Settings"],
        log=log_dir(config) / f"worker-{name}.jsonl",
        grace_s=config.grace_s,
        environment={"JOBQUEUE_DATA_DIR": str(config.data_dir)},
    )


@contextmanager
def _published(path: Path, url: str) -> Iterator[None]:
    """The server's address, for the other commands, whichever port it got."""
    path.write_text(url, encoding="utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@contextmanager
def _logging_to(path: Path, level: str) -> Iterator[None]:
    """Send this process's own log to a file: the terminal is for people."""
    with open_log(path) as log, io.TextIOWrapper(log, encoding="utf-8", line_buffering=True) as text:
        logs.configure(level, stream=text)
        try:
            yield
        finally:
            logs.configure(level)  # before the file closes


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def serving(config: Settings, *, ports: Iterable[int]) -> AsyncIterator[Served]:
    """The server, listening on the first free one of ``ports``; the first API key is made if there is none.

    Raises:
        ConfigError: no port is free, or the address is none of this machine's.
        Unavailable: Redis or the database can't be reached.
    """
    async with open_server(config) as (app, access, records):
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            url = await _listen(runner, config.host, ports)
            key = await _local_key(config, access, records)
            caller = await access.by_key(key)
            token = access.login_token(caller.key_id, caller.tenant_id, caller.role)
            yield Served(url=url, api_key=key, login_url=f"{url}/login?token={token}")
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, ports: Iterable[int]) -> str:
    port = 0
    for port in ports:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                continue
            raise ConfigError(f"the server can't listen on {host}:{port}: {exc.strerror}; see JOBQUEUE_HOST") from exc
        bound = runner.addresses[0]
        return f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"
    raise ConfigError(f"port {port} of {host} is in use: stop what listens there, or choose another with --port")


async def _local_key(config: Settings, access: Access, records: Records) -> str:
    path, tenant_id = key_file(config), TENANT
    with suppress(FileNotFoundError, Denied):
        key = path.read_text(encoding="utf-8").strip()
        who = await access.by_key(key)
        if who.role == "operator":
            return key
        tenant_id = who.tenant_id  # it was made before there were roles
    key = await mint_api_key(records, tenant_id, "the commands on this machine", "operator")
    _store(path, key)
    return key


def _store(path: Path, secret: str) -> None:
    """Write a file that this user alone can read; it is there whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{secret}\n")
    draft.replace(path)
