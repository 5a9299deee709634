"""Composition root of the services and the server: settings become concrete adapters here, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from aiohttp import web

from jobqueue import queues
from jobqueue.client import Client, create_pool
from jobqueue.engine.features import FlowEnded
from jobqueue.flows import Flow, FlowState
from jobqueue.ports import BlobStore, Records, Sandbox, Services, VirusScanner
from jobqueue.records.database import Database
from jobqueue.server.app import build_app
from jobqueue.server.auth import Access
from jobqueue.server.context import ServerLimits
from jobqueue.services.blobs import blob_store
from jobqueue.services.models import contract_model
from jobqueue.services.sandbox import ProcessSandbox
from jobqueue.services.virusscan import virus_scanner
from jobqueue.settings import Settings

SANDBOX_CALLS_A_CHILD = 50


@asynccontextmanager
async def open_services(settings: Settings, *, processes: int | None = None) -> AsyncIterator[Services]:
    """Everything a handler needs, from settings; the database is brought up to date first.

    Args:
        settings: as loaded.
        processes: sandbox children at once; None: as the settings say.
    """
    async with AsyncExitStack() as stack:
        records, blobs = await _open_stores(settings, stack)
        settings.temp_dir.mkdir(mode=0o700, exist_ok=True)
        sandbox = ProcessSandbox(processes=processes or settings.sandbox_processes, recycle_after=SANDBOX_CALLS_A_CHILD)
        stack.push_async_callback(sandbox.close)
        model = contract_model(settings.llm_provider, sandbox=sandbox)
        stack.push_async_callback(model.close)
        yield Services(
            blobs=blobs,
            sandbox=sandbox,
            records=records,
            model=model,
            scanner=_scanner(settings, sandbox),
            temp_dir=settings.temp_dir,
            max_upload_bytes=settings.max_upload_bytes,
            max_pages=settings.max_pages,
            ocr_engine=settings.ocr_engine,
            ocr_languages=settings.ocr_languages,
            text_engine=settings.text_engine,
        )


def flow_recorder(records: Records) -> FlowEnded:
    """Writes how a flow ended into its task's row; called at least once per flow."""

    async def on_flow_ended(flow: Flow, state: FlowState, error: str | None) -> None:
        async with records.unit() as unit:
            await unit.finish_task(flow.tenant_id, flow.id, state=state.value, error=error, at=datetime.now(UTC))

    return on_flow_ended


@asynccontextmanager
async def open_server(settings: Settings) -> AsyncIterator[tuple[web.Application, Access, Records]]:
    """The aiohttp application over real adapters, not yet listening."""
    async with AsyncExitStack() as stack:
        records, blobs = await _open_stores(settings, stack)
        pool = await create_pool(
            settings.redis_url, data_dir=settings.data_dir, durable=settings.durable, tls=settings.redis_tls
        )
        client = Client(pool, queues.load(settings.queues_file))
        stack.push_async_callback(client.close)
        access = Access(records)
        scanner = _scanner(settings)
        app = build_app(
            records=records,
            blobs=blobs,
            queue=client,
            access=access,
            limits=_limits(settings),
            also_ready={"virus_scan": scanner.check} if scanner.mandatory else {},
        )
        yield app, access, records


async def _open_stores(settings: Settings, stack: AsyncExitStack) -> tuple[Records, BlobStore]:
    """The database, brought up to date, and the storage; ``stack`` closes them."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    records = Database(settings.database_url)
    stack.push_async_callback(records.close)
    await records.migrate()
    blobs = blob_store(settings.storage_url)
    stack.push_async_callback(blobs.close)
    return records, blobs


def _scanner(settings: Settings, sandbox: Sandbox | None = None) -> VirusScanner:
    return virus_scanner(
        settings.virus_scan,
        settings.clamd_url,
        sandbox=sandbox,
        max_bytes=settings.clamd_max_bytes,
        max_age_days=settings.clamd_max_age_days,
    )


def _limits(settings: Settings) -> ServerLimits:
    hosts = [host.strip() for host in settings.allowed_hosts.split(",") if host.strip()]
    return ServerLimits(max_upload_bytes=settings.max_upload_bytes, allowed_hosts=frozenset({settings.host, *hosts}))
