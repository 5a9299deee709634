"""The job types of the five queues: what each is given, and what it gives back.

Ids become parts of storage keys and messages, so they are held to the shape that both take. Results are small: large
things lie in storage and records. Unknown fields of a result are ignored on reading, as `jobqueue.tasks` has it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from jobqueue.typed import Task

TenantId = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
FileId = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ContractId = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ReportFormat = Literal["pdf", "docx", "txt", "json", "md", "hocr", "alto", "searchable_pdf", "pdfa"]
"""The report of a contract (the first two), or the text of its file."""

EXTENSIONS: Final[dict[ReportFormat, str]] = {
    "pdf": "pdf",
    "docx": "docx",
    "txt": "txt",
    "json": "json",
    "md": "md",
    "hocr": "hocr.html",
    "alto": "alto.xml",
    "searchable_pdf": "searchable.pdf",
    "pdfa": "pdfa.pdf",
}
"""How the names of their files end."""

ANALYSIS_FORMATS: Final[frozenset[ReportFormat]] = frozenset({"pdf", "docx"})
"""Those that take an analysed contract; the others need its text alone."""


class Outcome(BaseModel):
    """Base of the results below."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# ── ingest ───────────────────────────────────────────────────────────────────────────────────────────────────────


class IngestOutcome(Outcome):
    """What an accepted file is; ``sha256`` in 64 hex digits, ``duplicate_of`` the file that it was answered from."""

    mime_type: str
    pages: int
    sha256: str
    size_bytes: int
    duplicate_of: str | None = None


class IngestDocument(Task[IngestOutcome], queue="ingest", function="ingest_document"):
    """Inspect an uploaded file; ``sealed_password`` (see `jobqueue.ports.Seal`) opens a protected PDF."""

    tenant_id: TenantId
    file_id: FileId
    sealed_password: SecretStr | None = Field(default=None, max_length=1_000)


class PageRange(Outcome):
    """Pages of a file, 1-based, both included."""

    first: int
    last: int


class PlanOutcome(Outcome):
    """The ranges in which a file's pages are read."""

    ranges: list[PageRange]


class PlanPages(Task[PlanOutcome], queue="ingest", function="plan_pages"):
    """Divide an accepted file's pages into ranges."""

    tenant_id: TenantId
    file_id: FileId


# ── ocr ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class OcrOutcome(Outcome):
    """How a document's text was come by. ``mean_confidence`` is 0..1, page numbers are 1-based."""

    pages: int
    ocr_pages: int
    empty_pages: list[int]
    characters: int
    mean_confidence: float


class OcrDocument(Task[OcrOutcome], queue="ocr", function="ocr_document"):
    """Read every page of an accepted file."""

    tenant_id: TenantId
    file_id: FileId
    contract_id: ContractId


class PagesOutcome(Outcome):
    """Where the text of some pages lies, and how many they are."""

    part: str
    pages: int


class OcrPages(Task[PagesOutcome], queue="ocr", function="ocr_pages"):
    """Read the pages ``first`` to ``last`` of an accepted file; a step of a task."""

    tenant_id: TenantId
    file_id: FileId
    contract_id: ContractId
    first: int = Field(ge=1)
    last: int = Field(ge=1)


class JoinPages(Task[OcrOutcome], queue="ocr", function="join_pages"):
    """Put together what a task's `OcrPages` have read."""

    tenant_id: TenantId
    file_id: FileId
    contract_id: ContractId


# ── llm ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class FoundFact(Outcome):
    """One fact; ``page`` is 1-based, ``confidence`` 0..1. Kinds as in `jobqueue.tasks.Fact`."""

    kind: str
    value: str
    page: int
    confidence: float


class ExtractionOutcome(Outcome):
    """The facts of a contract, best first within each kind."""

    document_class: str
    facts: list[FoundFact]


class ExtractTerms(Task[ExtractionOutcome], queue="llm", function="extract_terms"):
    """Read the facts of a contract whose text is there."""

    tenant_id: TenantId
    contract_id: ContractId


class SummaryOutcome(Outcome):
    """How long the summary is."""

    characters: int
    key_points: int


class SummarizeContract(Task[SummaryOutcome], queue="llm", function="summarise_contract"):
    """Summarise a contract whose text is there."""

    tenant_id: TenantId
    contract_id: ContractId


class AnalysisOutcome(Outcome):
    """How many clauses were found, how many of the usual ones are missing, and how many findings there are."""

    clauses: int
    missing: int
    findings: int


class AnalyzeContract(Task[AnalysisOutcome], queue="llm", function="analyse_contract"):
    """Check the clauses of a contract whose text is there."""

    tenant_id: TenantId
    contract_id: ContractId


# ── export ───────────────────────────────────────────────────────────────────────────────────────────────────────


class ExportOutcome(Outcome):
    """The reports written: format -> storage key, and format -> size in bytes."""

    reports: dict[str, str]
    size_bytes: dict[str, int]


class ExportReport(Task[ExportOutcome], queue="export", function="export_report"):
    """Write the reports of an analysed contract, or the text of its file, in each of ``formats``."""

    tenant_id: TenantId
    contract_id: ContractId
    formats: list[ReportFormat] = Field(default=["pdf", "docx"], min_length=1, max_length=10)


# ── system ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Expire(Task[dict[str, int]], queue="system", function="expire"):
    """Remove what nobody needs any more; how many of each."""


class Resubmit(Task[dict[str, int]], queue="system", function="resubmit"):
    """Submit the tasks that never reached the queue; how many were looked at and submitted."""


class CheckHealth(Task[dict[str, str]], queue="system", function="check_health"):
    """Use each component as jobs do; component -> ``ok``."""


class RollUpMetrics(Task[dict[str, dict[str, int]]], queue="system", function="roll_up_metrics"):
    """Keep the queues' figures of this moment; queue -> figure -> count."""


TASKS: Final[tuple[type[Task[Any]], ...]] = (
    IngestDocument,
    PlanPages,
    OcrDocument,
    OcrPages,
    JoinPages,
    ExtractTerms,
    SummarizeContract,
    AnalyzeContract,
    ExportReport,
    Expire,
    Resubmit,
    CheckHealth,
    RollUpMetrics,
)
"""Every job type of the product."""
