"""Reports and in-process doubles of the ports for the tests of rendering and export."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Self, cast

import msgpack

from jobqueue.errors import NotFound
from jobqueue.ports import (
    AuditEntry,
    Blob,
    BlobStore,
    ContractModel,
    ContractRecord,
    FileRecord,
    Limits,
    Records,
    Sandbox,
    Services,
)
from jobqueue.services.virusscan import NoScanner
from jobqueue.tasks import (
    Analysis,
    Clause,
    DocumentInfo,
    DocumentText,
    Extraction,
    Fact,
    Finding,
    KeyPoint,
    PageSource,
    PageText,
    Quote,
    Report,
    Severity,
    Summary,
    Usage,
)

CREATED = datetime(2024, 3, 4, 15, 30, tzinfo=UTC)


def quote(page: int, text: str) -> Quote:
    """A quote that starts at the page's first character."""
    return Quote(page=page, start=0, end=len(text), text=text)


def fact(kind: str, value: str, page: int = 1, text: str = "", confidence: float = 0.9) -> Fact:
    """A fact with its quote; without ``text`` the value is the wording."""
    return Fact(kind=kind, value=value, quote=quote(page, text or value), confidence=confidence)


FACTS = [
    fact("property_address", "12 Oak Street, Springfield, IL 62701", 1, "located at 12 Oak Street, Springfield", 0.97),
    fact("purchase_price", "425000.00 USD", 2, "The purchase price shall be $425,000.00, payable at closing", 0.95),
    fact("earnest_money", "8500.00 USD", 2, "Buyer shall deposit earnest money of $8,500", 0.91),
    fact("governing_law", "Illinois", 4, "governed by the laws of the State of Illinois", 0.88),
    fact("buyer", "José García Núñez", 1, "José García Núñez (“Buyer”)", 0.96),
    fact("seller", "Wilhelmina O’Connor-Łukasiewicz", 1, "", 0.93),
    fact("closing_date", "2024-04-15", 3, "Closing shall occur on or before April 15, 2024", 0.94),
    fact("agreement_date", "2024-03-01", 1, "dated as of March 1, 2024", 0.92),
    fact("inspection_deadline", "2024-03-20", 3, "no later than March 20, 2024", 0.81),
]


def make_report(**changes: Any) -> Report:
    """A plausible purchase agreement's report; keyword arguments replace whole fields."""
    fields: dict[str, Any] = {
        "title": "Purchase agreement: 12 Oak Street, Springfield, IL 62701",
        "file_name": "oak-street-purchase.pdf",
        "generated_at": CREATED,
        "document": DocumentInfo(
            mime_type="application/pdf",
            extension=".pdf",
            sha256=hashlib.sha256(b"oak").hexdigest(),
            size_bytes=184_220,
            pages=5,
            metadata={"producer": "Acme Scan 3.1", "title": "Purchase"},
            warnings=["The name ends in .pdf, which matches the content."],
        ),
        "pages": [
            PageText(number=1, text="a" * 2_100, source=PageSource.TEXT, confidence=1.0),
            PageText(number=2, text="b" * 1_900, source=PageSource.TEXT, confidence=1.0),
            PageText(number=3, text="c" * 1_700, source=PageSource.OCR, confidence=0.87),
            PageText(number=4, text="d" * 1_650, source=PageSource.OCR, confidence=0.91),
            PageText(number=5, text="", source=PageSource.EMPTY, confidence=1.0),
        ],
        "extraction": Extraction(document_class="purchase_agreement", class_confidence=0.94, facts=FACTS),
        "summary": Summary(
            text="José García Núñez buys 12 Oak Street from Wilhelmina O’Connor-Łukasiewicz for $425,000.00.\n\n"
            "Closing is on or before April 15, 2024. The buyer deposits $8,500 as earnest money within three business "
            "days, and may inspect the property until March 20, 2024.",
            key_points=[
                KeyPoint(text="The purchase price is $425,000.00.", quote=quote(2, "The purchase price shall be")),
                KeyPoint(text="The buyer may inspect until March 20, 2024.", quote=quote(3, "no later than March 20")),
                KeyPoint(text="The property is sold as it stands."),
            ],
        ),
        "analysis": Analysis(
            clauses=[
                Clause(
                    name="financing_contingency",
                    title="Financing contingency",
                    present=True,
                    quote=quote(3, "This agreement is contingent upon Buyer obtaining a mortgage commitment"),
                ),
                Clause(name="inspection_contingency", title="Inspection contingency", present=True),
                Clause(name="title_insurance", title="Title insurance", present=False),
            ],
            findings=[
                Finding(
                    code="clause.missing",
                    severity=Severity.MEDIUM,
                    title="No title insurance clause",
                    detail="A purchase agreement usually says who pays for the owner’s policy of title insurance.",
                ),
                Finding(
                    code="price.mismatch",
                    severity=Severity.HIGH,
                    title="Two different purchase prices",
                    detail="Page 2 says $425,000.00 in figures; page 4 says four hundred fifteen thousand in words.",
                    quote=quote(4, "the sum of four hundred fifteen thousand dollars"),
                ),
                Finding(
                    code="pages.empty",
                    severity=Severity.INFO,
                    title="One page has no text",
                    detail="Page 5 is blank, or could not be read.",
                ),
            ],
        ),
        "usage": [
            Usage(provider="offline", model="rules-1", seconds=0.2),
            Usage(provider="offline", model="rules-1", seconds=0.4),
        ],
    }
    return Report(**{**fields, **changes})


def plain(report: Report) -> dict[str, Any]:
    """The report as it crosses into the sandbox."""
    return report.model_dump(mode="json")


HOSTILE = (
    '<img src="/etc/passwd" width="10" height="10"/> <b>bold</b> & <para> </para> <font name="x"> ]]> <!-- &lt;',
    "\x00\x01\x08\x0b\x0c\x1b\ufffe\uffff control",
    "W" * 10_000,
    "\u202egpj.exe \u2066isolated\u2069 \ufeff",
    "יעקב לוי, רחוב הרצל 12 (חיפה)",
    "محمد بن سلمان الأمير",
    "王小明 山田太郎 김철수",
    "Ελένη Παπαδοπούλου, Юлия Щербакова, Nguyễn Thị Hằng, สมชาย, राजेश",
    "🏠🔑 emoji 👩‍👩‍👧",
    "/etc/passwd file:///etc/passwd {{7*7}} %s %(x)s ${x}",
    "Z" + "\u0301" * 3_000,
    "",
    " \n\t ",
)
"""Strings that a document or a file name may hold."""


def hostile_report() -> Report:
    """A report in which every free string is hostile."""
    clauses = [
        Clause(name=text, title=text, present=bool(i % 2), quote=quote(i, text)) for i, text in enumerate(HOSTILE)
    ]
    return make_report(
        title=" ".join(HOSTILE[:2]),
        file_name=HOSTILE[4] + HOSTILE[0],
        document=DocumentInfo(
            mime_type=HOSTILE[0],
            extension=HOSTILE[0],
            sha256=HOSTILE[2],
            size_bytes=1,
            pages=1,
            metadata={text: text for text in HOSTILE},
            warnings=list(HOSTILE),
        ),
        extraction=Extraction(
            document_class="other",
            class_confidence=0.1,
            facts=[fact(kind, text) for text in HOSTILE for kind in ("buyer", "rent", "closing_date", text)],
        ),
        summary=Summary(text="\n".join(HOSTILE), key_points=[KeyPoint(text=t, quote=quote(1, t)) for t in HOSTILE]),
        analysis=Analysis(
            clauses=clauses,
            findings=[
                Finding(code=t, severity=Severity.LOW, title=t, detail=t * 3, quote=quote(2, t)) for t in HOSTILE
            ],
        ),
        usage=[Usage(provider=HOSTILE[0], model=HOSTILE[4])],
    )


# ── the ports, in this process ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class InlineSandbox:
    """Calls in this process; ``before`` may raise what a limit or a crash would."""

    before: Callable[[str, Path], None] = lambda function, path: None
    calls: list[tuple[str, Limits | None]] = field(default_factory=list)

    async def run(self, function: str, /, *args: Any, limits: Limits | None = None, **kwargs: Any) -> Any:
        self.calls.append((function, limits))
        self.before(function, Path(args[1]))
        module, _, name = function.partition(":")
        # Through msgpack, as on the way into a child: only plain data passes.
        plain_args = msgpack.unpackb(msgpack.packb(args))
        return getattr(import_module(module), name)(*plain_args, **kwargs)


@dataclass
class DictBlobs:
    """Blobs in a dictionary."""

    data: dict[str, bytes] = field(default_factory=dict)

    async def put_file(self, key: str, path: Path) -> Blob:
        data = self.data[key] = path.read_bytes()  # noqa: ASYNC240  # a small file, and nobody else waits
        return Blob(key=key, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def read(self, key: str, *, max_bytes: int) -> bytes:
        if key not in self.data:
            raise NotFound(key)
        return self.data[key]

    @asynccontextmanager
    async def local(self, key: str) -> AsyncIterator[Path]:
        data = await self.read(key, max_bytes=1 << 30)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "object"
            path.write_bytes(data)
            yield path


@dataclass
class DictRecords:
    """One contract and its file; a unit that raises leaves them as they were."""

    file: FileRecord
    contract: ContractRecord
    trail: list[AuditEntry] = field(default_factory=list)

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[Self]:
        before = self.contract, list(self.trail)
        try:
            yield self
        except BaseException:
            self.contract, self.trail = before
            raise

    async def get_file(self, tenant_id: str, file_id: str) -> FileRecord:
        if (tenant_id, file_id) != (self.file.tenant_id, self.file.id):
            raise NotFound(file_id)
        return self.file

    async def get_contract(self, tenant_id: str, contract_id: str) -> ContractRecord:
        if (tenant_id, contract_id) != (self.contract.tenant_id, self.contract.id):
            raise NotFound(contract_id)
        return self.contract

    async def save_contract_part(self, tenant_id: str, contract_id: str, *, reports: dict[str, str]) -> None:
        self.contract = replace(self.contract, reports={**self.contract.reports, **reports})

    async def audit(self, entry: AuditEntry) -> None:
        self.trail.append(entry)


@dataclass
class World:
    """A worker's surroundings with one analysed contract ``c1`` of tenant ``acme`` in them."""

    temp_dir: Path
    sandbox: InlineSandbox = field(default_factory=InlineSandbox)
    blobs: DictBlobs = field(default_factory=DictBlobs)
    records: DictRecords = field(init=False)
    steps: list[tuple[int, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        report = make_report()
        self.blobs.data["acme/contracts/c1/text.json"] = DocumentText(pages=report.pages).model_dump_json().encode()
        self.records = DictRecords(
            file=FileRecord(
                id="f1",
                tenant_id="acme",
                name=report.file_name,
                blob_key="acme/files/f1/original",
                size_bytes=report.document.size_bytes,
                sha256=report.document.sha256,
                state="accepted",
                created_at=CREATED,
                info=report.document,
            ),
            contract=ContractRecord(
                id="c1",
                tenant_id="acme",
                file_id="f1",
                created_at=CREATED,
                text_key="acme/contracts/c1/text.json",
                extraction=report.extraction,
                summary=report.summary,
                analysis=report.analysis,
                usage={"extract": report.usage[0], "analyse": report.usage[1]},
            ),
        )

    @property
    def ctx(self) -> dict[str, Any]:
        """What the handler gets."""

        async def note(done: int, total: int, message: str) -> None:
            self.steps.append((done, total, message))

        services = Services(
            blobs=cast("BlobStore", self.blobs),
            sandbox=cast("Sandbox", self.sandbox),
            records=cast("Records", self.records),
            model=cast("ContractModel", None),
            scanner=NoScanner(),
            temp_dir=self.temp_dir,
        )
        return {"services": services, "progress": note}
