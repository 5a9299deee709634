"""What the rest of the program may expect of the outside world, as Protocols with their semantics.

Adapters live in ``services/`` and ``records/``; every adapter of a port passes the same contract suite
(``tests/contract``). Handlers see the world only through the `Services` bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobqueue.ports.queue import CancelAnswer, Control, JobQueue, ScheduleBook, TaskQueue
from jobqueue.ports.records import (
    ApiKeyRecord,
    AuditEntry,
    ContractRecord,
    FileRecord,
    Records,
    Role,
    TaskRecord,
    UnitOfWork,
)
from jobqueue.ports.storage import Blob, BlobStore
from jobqueue.ports.work import Checkpoint, ContractModel, Limits, Sandbox, Seal, VirusScanner

__all__ = [
    "ApiKeyRecord",
    "AuditEntry",
    "Blob",
    "BlobStore",
    "CancelAnswer",
    "Checkpoint",
    "ContractModel",
    "ContractRecord",
    "Control",
    "FileRecord",
    "JobQueue",
    "Limits",
    "Records",
    "Role",
    "Sandbox",
    "ScheduleBook",
    "Seal",
    "Services",
    "TaskQueue",
    "TaskRecord",
    "UnitOfWork",
    "VirusScanner",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a handler gets as ``ctx["services"]``. Without a key to seal with there is no ``seal``."""

    blobs: BlobStore
    sandbox: Sandbox
    records: Records
    model: ContractModel
    scanner: VirusScanner
    temp_dir: Path
    seal: Seal | None = None
    signature_roots_pem: str = ""
    max_upload_bytes: int = 100_000_000
    max_pages: int = 2_000
    ocr_engine: str = "auto"
    ocr_languages: str = "auto"
    text_engine: str = "pymupdf"
    ocr_cache_days: int = 30
