"""Redis: whether it answers, keeps what it is given, agrees about the time, and is served by workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jobqueue import queues
from jobqueue.broker.connection import AnyPool, resolve
from jobqueue.broker.durable import demand
from jobqueue.broker.embedded import find_server, read_endpoint
from jobqueue.broker.remedy import answering
from jobqueue.cli.checks import Finding, failed, ok, warning
from jobqueue.client import Client, create_pool
from jobqueue.errors import ConfigError
from jobqueue.settings import EMBEDDED, Settings

NEVER_EVICTS: Final = "noeviction"
CLOCKS_MAY_DIFFER_S: Final = 1.0
CLOCKS_MUST_NOT_DIFFER_S: Final = 5.0
"""Leases and due times are reckoned by the clocks of several machines, with so much to spare."""


async def broker(config: Settings) -> Sequence[Finding]:
    """Everything about Redis; an embedded one that doesn't run is no failure: ``jobqueue up`` starts it."""
    if config.redis_url == EMBEDDED and await asyncio.to_thread(read_endpoint, config.data_dir) is None:
        program = await asyncio.to_thread(find_server)
        return [warning("redis", f"the embedded one doesn't run; it would be {program}", "start it: jobqueue up")]
    pool = await create_pool(config.redis_url, data_dir=config.data_dir, durable=config.durable, tls=config.redis_tls)
    async with Client(pool, queues.load(config.queues_file)) as client:
        with answering():
            return [*await _server(config, pool), *await _workers(client)]


async def _server(config: Settings, pool: Any) -> list[Finding]:
    info = await pool.info()
    address = resolve(config.redis_url, config.data_dir, config.redis_tls)
    return [
        ok("redis", f"{_version(info)} at {address}"),
        _persistence(info),
        _eviction(info),
        await _durable(config, pool),
        await _clock(pool),
    ]


def _version(info: Mapping[str, Any]) -> str:
    """The server's kind and version.

    >>> _version({"redis_version": "7.2.4", "valkey_version": "8.1.0"}), _version({"redis_version": "7.2.4"})
    ('Valkey 8.1.0', 'Redis 7.2.4')
    """
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', 'of an unknown version')}"


def _persistence(info: Mapping[str, Any]) -> Finding:
    name = "redis persistence"
    if info.get("aof_enabled") and info.get("aof_last_write_status") != "ok":
        return failed(name, "its last write to the append-only file failed", "see its log, and its disk's free space")
    if info.get("aof_enabled"):
        return ok(name, "an append-only file")
    return warning(
        name,
        "no append-only file: a restart forgets the jobs since the last snapshot",
        "set 'appendonly yes' in Redis's configuration",
    )


def _eviction(info: Mapping[str, Any]) -> Finding:
    name, policy, limit = "redis memory", info.get("maxmemory_policy"), int(info.get("maxmemory") or 0)
    used = f"{int(info.get('used_memory') or 0) / 1e6:,.0f} MB used" + (f" of {limit / 1e6:,.0f}" if limit else "")
    if policy == NEVER_EVICTS:
        return ok(name, f"{used}, nothing is evicted")
    # Without a limit nothing is evicted yet; with one, waiting jobs are, as if they had never been.
    said = failed if limit else warning
    return said(name, f"{used}, and the policy {policy} evicts", f"set 'maxmemory-policy {NEVER_EVICTS}'")


async def _durable(config: Settings, pool: AnyPool) -> Finding:
    if config.durable != "off":  # whoever can't promise it wasn't connected to
        return ok("durable writes", f"to {config.durable}, as JOBQUEUE_DURABLE says")
    try:
        await demand(pool, "disk")
    except ConfigError as exc:
        return ok("durable writes", f"off, and not to be had: {str(exc).partition(': ')[2]}")
    return ok("durable writes", "off; JOBQUEUE_DURABLE=disk could be had")


async def _clock(pool: Any) -> Finding:
    before = time.time()
    seconds, microseconds = await pool.time()
    apart_s = abs(seconds + microseconds / 1e6 - (before + time.time()) / 2)
    found, advice = f"{apart_s:.3f} s apart from Redis's", "have both machines set their clocks by NTP"
    if apart_s > CLOCKS_MUST_NOT_DIFFER_S:
        return failed("clock", found, advice)
    return warning("clock", found, advice) if apart_s > CLOCKS_MAY_DIFFER_S else ok("clock", found)


async def _workers(client: Client) -> list[Finding]:
    findings = []
    for view in await client.queues():
        name = f"workers of {view.name}"
        jobs = f"{view.waiting} jobs wait, {view.running} run, {view.dead} dead letters"
        if view.workers:
            findings.append(ok(name, f"{view.workers}; {jobs}"))
        else:
            findings.append(warning(name, f"none in the last 15 s; {jobs}", f"start one: jobqueue worker {view.name}"))
    return findings
