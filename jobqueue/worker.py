"""Composition root of the workers: ``arq jobqueue.worker.IngestSettings`` and its four siblings start here.

arq's command builds ``arq.worker.Worker`` by that name and logs as ``arq.cli.default_log_config`` says. `adopt_arq`
rebinds both, on import of this module: the engine is ours, and every line is JSON. Nothing else of arq is touched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from datetime import UTC
from functools import partial
from typing import Any, Final

import arq.cli
import arq.worker
import structlog
from arq.connections import RedisSettings
from redis.exceptions import RedisError

from handlers import export, ingest, llm, ocr, system
from jobqueue import queues, registry, settings
from jobqueue.app import flow_recorder, open_services
from jobqueue.broker.connection import AnyPool, arq_settings, close_pool, open_pool, parse, resolve
from jobqueue.broker.durable import demand
from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.broker.remedy import look_at, remedy
from jobqueue.client import Client
from jobqueue.duties.limits import configuring
from jobqueue.duties.scheduler import scheduling
from jobqueue.engine.features import Features
from jobqueue.engine.fleet import run_workers
from jobqueue.engine.slots import Slots
from jobqueue.engine.worker import Worker
from jobqueue.errors import ConfigError, Unavailable
from jobqueue.flows import Flow, FlowState
from jobqueue.job import decode, encode
from jobqueue.payloads import TASKS
from jobqueue.ports import Services
from jobqueue.scheduling import Schedule
from jobqueue.telemetry import logs

logger = structlog.get_logger(__name__)

HANDLERS: Final[dict[str, dict[str, registry.Handler]]] = {
    "ingest": {"ingest_document": ingest.ingest_document, "plan_pages": ingest.plan_pages},
    "ocr": {"ocr_document": ocr.ocr_document, "ocr_pages": ocr.ocr_pages, "join_pages": ocr.join_pages},
    "llm": {
        "extract_terms": llm.extract_terms,
        "summarise_contract": llm.summarise_contract,
        "analyse_contract": llm.analyse_contract,
    },
    "export": {"export_report": export.export_report},
    "system": {
        "expire": system.expire,
        "resubmit": system.resubmit,
        "check_health": system.check_health,
        "roll_up_metrics": system.roll_up_metrics,
    },
}
"""Queue -> job type -> the coroutine that runs it."""


SCHEDULER: Final = "system"
"""The queue whose workers enqueue the ticks of all schedules."""


def adopt_arq() -> None:
    """Have arq's command run our worker, and log as we do."""
    arq.worker.Worker = Worker  # type: ignore[misc]  # the one place where arq is patched
    arq.cli.default_log_config = logs.arq_config  # type: ignore[attr-defined]


async def _connect(config: settings.Settings, queue: str) -> AnyPool:
    """A pool that answers, however long that takes: workers and Redis may start in any order."""
    delay_s = 0.2
    while True:
        try:
            pool = open_pool(resolve(config.redis_url, config.data_dir, config.redis_tls), queue=queue)
            try:
                await pool.ping()
                await demand(pool, config.durable, replicas=config.durable_replicas)
            except BaseException:
                await close_pool(pool)
                raise
            return pool
        except (RedisError, OSError, Unavailable) as exc:
            if (to_do := remedy(exc)) is not None:
                raise ConfigError(f"Redis can't be used ({exc}): {to_do}") from exc
            advice = look_at(config.redis_url, config.redis_tls)
            logger.warning("redis.away", queue=queue, error=str(exc), advice=advice, retry_in_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(5.0, delay_s * 2)


OpenServices = Callable[[], AbstractAsyncContextManager[Services]]


def worker_settings(
    name: str, config: settings.Settings, all_queues: Mapping[str, queues.Queue], open_: OpenServices
) -> dict[str, Any]:
    """The keyword arguments of the worker of one queue, by short name; ``open_`` gives its handlers their services."""
    full_name = queue_name(name)
    plan = registry.plan(all_queues[name], HANDLERS[name], TASKS)
    cluster = config.redis_url != settings.EMBEDDED and parse(config.redis_url).cluster
    stack = AsyncExitStack()
    record_end: Any = None

    async def on_startup(ctx: dict[Any, Any]) -> None:
        nonlocal record_end
        services = await stack.enter_async_context(open_())
        record_end = flow_recorder(services.records)
        ctx["services"] = services
        ctx["queues"] = client = Client(ctx["redis"], all_queues)
        await stack.enter_async_context(configuring(client.control(name), all_queues[name].limits))
        if name == SCHEDULER:
            await stack.enter_async_context(scheduling(client.schedules, _SCHEDULES))

    async def on_shutdown(_ctx: dict[Any, Any]) -> None:
        await stack.aclose()

    async def on_flow_ended(flow: Flow, state: FlowState, error: str | None) -> None:
        await record_end(flow, state, error)

    return {
        "functions": list(plan.functions),
        "queue_name": full_name,
        "redis_settings": _redis_settings(config),
        "health_check_key": QueueKeys(full_name, cluster=cluster).health_check,
        "max_jobs": plan.queue.concurrency,
        "job_completion_wait": int(config.grace_s),
        "allow_abort_jobs": True,
        "job_serializer": encode,
        "job_deserializer": decode,
        "timezone": UTC,
        "on_startup": on_startup,
        "on_shutdown": on_shutdown,
        "features": Features(
            connect=lambda: _connect(config, full_name),
            cluster=cluster,
            worker_name=config.worker_name,
            lease_s=config.lease_s,
            policies=plan.policies,
            versions=plan.versions,
            on_flow_ended=on_flow_ended,
        ),
    }


def _redis_settings(config: settings.Settings) -> RedisSettings:
    """For ``arq --check``; the worker itself connects by `_connect`."""
    try:
        return arq_settings(resolve(config.redis_url, config.data_dir, config.redis_tls))
    except Unavailable:
        return RedisSettings(unix_socket_path=str(config.data_dir / "redis" / "not-running.sock"), conn_retries=0)


def _settings_class(name: str) -> type:
    try:
        arguments = worker_settings(name, _CONFIG, _QUEUES, partial(open_services, _CONFIG))
    except KeyError:
        raise ConfigError(f"queues.toml: queues: there is no {name!r}, which this program serves") from None
    return type(f"{name.title()}Settings", (), arguments)


async def run_fleet(names: Sequence[str]) -> None:
    """Serve several queues in this process, its slots shared by their weights, until a signal.

    Args:
        names: short names; all must be configured.

    Raises:
        ConfigError: a name is not that of a queue.
    """
    if unknown := sorted(set(names) - HANDLERS.keys() | set(names) - _QUEUES.keys()):
        raise ConfigError(f"no queue {', '.join(unknown)}: there are {', '.join(_QUEUES)}")
    chosen = {queue_name(name): _QUEUES[name] for name in dict.fromkeys(names)}
    slots = Slots(
        max(queue.concurrency for queue in chosen.values()),
        {full: (queue.weight, queue.concurrency) for full, queue in chosen.items()},
    )
    async with open_services(_CONFIG) as services:

        def shared() -> AbstractAsyncContextManager[Services]:
            return nullcontext(services)

        workers = [
            Worker(**worker_settings(queue.name, _CONFIG, _QUEUES, shared), handle_signals=False, slots=slots)
            for queue in chosen.values()
        ]
        await run_workers(workers)


def _load() -> tuple[settings.Settings, dict[str, queues.Queue], dict[str, Schedule]]:
    try:
        config = settings.load()
        return config, queues.load(config.queues_file), queues.load_schedules(config.queues_file)
    except ConfigError as exc:
        raise SystemExit(f"jobqueue: {exc}") from exc  # one line for the operator of `arq`, not a traceback


_CONFIG, _QUEUES, _SCHEDULES = _load()
logs.configure(_CONFIG.log_level)
logging.getLogger("arq").setLevel(_CONFIG.log_level)
adopt_arq()

IngestSettings = _settings_class("ingest")
OcrSettings = _settings_class("ocr")
LlmSettings = _settings_class("llm")
ExportSettings = _settings_class("export")
SystemSettings = _settings_class("system")
