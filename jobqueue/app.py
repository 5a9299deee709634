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
from jobqueue.ports import BlobStore, Records, Sandbox, Seal, Services, VirusScanner
from jobqueue.records.database import Database
from jobqueue.server.app import build_app
from jobqueue.server.auth import Access
from jobqueue.server.context import ServerLimits
from jobqueue.services.blobs import DirectoryStore, blob_store
from jobqueue.services.models import contract_model
from jobqueue.services.sandbox import ProcessSandbox
from jobqueue.services.sealing import AesGcmSeal, kept_key
from jobqueue.services.virusscan import virus_scanner
from jobqueue.settings import EMBEDDED, Settings

SANDBOX_CALLS_A_CHILD = 50
PRELOADED = (
    "handlers.contracts.reader", "handlers.documents.children", "handlers.documents.inspect", "handlers.documents.text",
)  # fmt: skip
"""What most children need: read once, where the compiled code can be kept; children may not write it."""


@asynccontextmanager
async def open_services(settings: Settings, *, processes: int | None = None) -> AsyncIterator[Services]:
    """Everything a handler needs, from settings; the database is brought up to date first.

    Args:
        settings: as loaded.
        processes: sandbox children at once; None: as the settings say.
    """
    async with AsyncExitStack() as stack:
        records, blobs = await _open_stores(settings, stack)
        sandbox = document_sandbox(settings, blobs, processes=processes)
        stack.push_async_callback(sandbox.close)
        model = contract_model(settings.llm_provider, sandbox=sandbox)
        stack.push_async_callback(model.close)
        yield Services(
            blobs=blobs,
            sandbox=sandbox,
            records=records,
            model=model,
            scanner=document_scanner(settings, sandbox),
            temp_dir=settings.temp_dir,
            seal=_seal(settings),
            signature_roots_pem=_signature_roots(settings),
            max_upload_bytes=settings.max_upload_bytes,
            max_pages=settings.max_pages,
            ocr_engine=settings.ocr_engine,
            ocr_languages=settings.ocr_languages,
            text_engine=settings.text_engine,
            ocr_cache_days=settings.ocr_cache_days,
        )


def document_sandbox(settings: Settings, blobs: BlobStore, *, processes: int | None = None) -> ProcessSandbox:
    """The sandbox whose children reach the stored files and the temporary directory, and nothing else of the data."""
    stored = [blobs.root] if isinstance(blobs, DirectoryStore) else []
    for directory in (settings.temp_dir, *stored):  # before a child starts: one made later is out of its reach
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ProcessSandbox(
        processes=processes or settings.sandbox_processes,
        preload=PRELOADED,
        recycle_after=SANDBOX_CALLS_A_CHILD,
        readable=stored,
        writable=[settings.temp_dir],
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
        scanner = document_scanner(settings)
        app = build_app(
            records=records,
            blobs=blobs,
            queue=client,
            access=access,
            limits=_limits(settings),
            seal=_seal(settings),
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


def _seal(settings: Settings) -> Seal | None:
    if settings.secret_key is not None:
        return AesGcmSeal(settings.secret_key.get_secret_value())
    # Whoever shares an embedded Redis shares its directory, and with it the key.
    return AesGcmSeal(kept_key(settings.data_dir / "secret-key")) if settings.redis_url == EMBEDDED else None


def _signature_roots(settings: Settings) -> str:
    path = settings.signature_roots_file
    return path.read_text(encoding="utf-8") if path else ""


def document_scanner(settings: Settings, sandbox: Sandbox | None = None) -> VirusScanner:
    """The scanner that the settings ask for; without a sandbox one that can only be checked."""
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
