"""What jobs of this product carry and give back: the models that cross from handler to handler.

Large things (files, page texts, reports) stay in storage; jobs carry ids. Every model is frozen, and unknown fields
are ignored on reading, so that an older worker can read what a newer one wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from jobqueue.flows import Flow, Step


class Model(BaseModel):
    """Base of the models below: immutable, tolerant of fields from a newer version."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────


DocumentClass = Literal[
    "purchase_agreement", "lease", "addendum", "disclosure", "listing", "title", "inspection", "hoa", "loan",
    "invoice", "id", "other",
]  # fmt: skip


class FileFinding(Model):
    """Content of a file that does something, or hides something: ``code`` and ``severity`` by the policy of ingest."""

    code: str
    severity: Literal["refuse", "warn"]
    detail: str


class FileSignature(Model):
    """A digital signature: what the file states of it (empty strings where it doesn't), and what a check found.

    Attributes:
        format: the PDF's SubFilter.
        covers_whole_file: nothing was added after it.
        intact: what it covers is as it was signed, and the signature is by the key of the certificate; None where that
            could not be checked, for the reason in ``problem``.
        coverage: the ``file``, an earlier ``revision`` of it as a whole, or a ``part``; None as above.
        changes: the gravest kind of change made after it: ``none``, ``long_term_data`` (timestamps, revocation lists),
            ``form_filling`` and further signatures, ``annotations``, all of them allowed; or ``suspicious``, which may
            show other things than what was signed. None unless it is intact.
        trusted: whether an authority of ``JOBQUEUE_SIGNATURE_ROOTS_FILE`` vouches for the signer; None where none is
            configured: the signer is not verified.
        certificate_subject, certificate_issuer: as the certificate has them.
        valid_from, valid_until: of the certificate, ISO 8601.
    """

    field: str
    signer: str
    reason: str
    signed_at: str
    format: str
    covers_whole_file: bool
    intact: bool | None = None
    coverage: Literal["unclear", "part", "revision", "file"] | None = None
    changes: Literal["none", "long_term_data", "form_filling", "annotations", "suspicious"] | None = None
    trusted: bool | None = None
    certificate_subject: str = ""
    certificate_issuer: str = ""
    valid_from: str = ""
    valid_until: str = ""
    problem: str = ""


class ChildFile(Model):
    """A file that was unpacked from another, and the task that processes it."""

    file_id: str
    task_id: str
    name: str


class DocumentInfo(Model):
    """What ingest found out about a file without reading its text.

    Attributes:
        mime_type: type by content, never by name.
        extension: the usual extension of that type, with the dot.
        sha256: 64 hex digits.
        size_bytes: of the file as uploaded.
        pages: page (or frame) count, >= 1.
        metadata: title, author, producer, creation date, as plain strings; only what the file has.
        warnings: what a person should know though the file is accepted (an extension that doesn't match, …).
        findings: active and other content that was found and let pass; each is told of in ``warnings``, too.
        fields: a PDF form's fields with their values; the first 500.
        signatures: a PDF's digital signatures; the first 20 of them checked.
        copy_made: why the file is read from a copy; the original stays as it was uploaded.
        reading_key: the storage key of that copy.
        duplicate_of: the file of the same tenant with the same bytes from whose result this one was answered.
        children: the files unpacked from this one, each with a task of its own.
        document_class: the kind of document by its first pages; None until their text is known, as of scans.
        class_confidence: 0..1.
        language: of the first pages, ISO 639-1; None until known, or where it can't be told.
        checks: version of the checks that the file went through; 0 before they had one.
    """

    mime_type: str
    extension: str
    sha256: str
    size_bytes: int
    pages: int
    metadata: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    findings: list[FileFinding] = Field(default_factory=list)
    fields: dict[str, str] = Field(default_factory=dict)
    signatures: list[FileSignature] = Field(default_factory=list)
    copy_made: Literal["decrypted", "repaired"] | None = None
    reading_key: str | None = None
    duplicate_of: str | None = None
    children: list[ChildFile] = Field(default_factory=list)
    document_class: DocumentClass | None = None
    class_confidence: float = 0.0
    language: str | None = None
    checks: int = 0


class Scan(Model):
    """What a virus scanner made of a file's bytes.

    Attributes:
        verdict: ``clean``: all of it was looked at; ``infected``; ``unscannable``: it can't be looked at as a whole;
            ``unchecked``: there was no scanner to do so, only our own checks.
        engine: who looked: ``ClamAV 1.4.6``, or ``built-in``.
        signatures: number and day of the engine's signatures, where it has dated ones.
        finding: the signature's name where infected, else why the file isn't known to be clean.
        at: when, aware.
    """

    verdict: Literal["clean", "infected", "unscannable", "unchecked"]
    engine: str
    signatures: str | None = None
    finding: str | None = None
    at: datetime


SUSPECT_BELOW: Final = 0.6
"""Confidence below which a recognised word is suspect."""


class PageSource(StrEnum):
    """Where a page's text came from."""

    TEXT = "text"  # the file's own text layer
    OCR = "ocr"
    BOTH = "both"  # a text layer, and recognition of the pictures beside it
    EMPTY = "empty"  # looked at by both; there is nothing
    UNREADABLE = "unreadable"  # there is something on the page, but no text that could be read


class PageWord(NamedTuple):
    """A word: where it stands in the page's text, and where on the page.

    ``text`` is ``page.text[start:start + len(text)]``; ``confidence`` 0..1, and 1.0 for a word of a text layer; the
    box lies within the page as it is shown, in its pixels (`PageText.width_px` by ``height_px``); ``block`` and
    ``line`` are numbers, the line's within its block. A word that a line's end divided, and that was made whole, has
    the box of its first part.
    """

    text: str
    start: int
    confidence: float
    left: int
    top: int
    right: int
    bottom: int
    block: int
    line: int

    @property
    def suspect(self) -> bool:
        """Whether it may well say something else: for a person to compare with the page."""
        return self.confidence < SUSPECT_BELOW


class PageMark(Model):
    """A place on a page that is there to be ticked, signed or filled in.

    Attributes:
        checked: of a ``checkbox``: whether it is ticked; None where that can't be told, and for the others.
        filled: of the others: whether something is written, signed or stamped there; None where that can't be told.
        label: the words that say what it is for: right of a box, before or under a line; may be empty.
        left, top, right, bottom: in the unit of the page's words, `PageText.width_px` by ``height_px``.
        source: ``drawn`` on the page, a ``glyph`` of its text, or a field of the PDF's ``form``.
    """

    kind: Literal["checkbox", "signature", "initials", "field"]
    checked: bool | None = None
    filled: bool | None = None
    label: str = ""
    left: int
    top: int
    right: int
    bottom: int
    source: Literal["drawn", "glyph", "form"]


class PageText(Model):
    """One page's text.

    Attributes:
        number: 1-based.
        text: UTF-8 text, lines ended by a line feed, no NUL.
        confidence: 0..1; 1.0 for a text layer, the mean word confidence for OCR.
        seconds: wall time spent on the page.
        width_px, height_px: of the page as shown, in the unit of the words' boxes: of the picture that was recognised,
            or of the page at 144 dpi (half points) where a text layer was read; 0 where words have no place, as in
            plain text.
        word_table: the words with their places, packed: a document can have a million of them. See `words`.
        marks: boxes to be ticked, lines to be signed or filled in, form fields; the first 500.
    """

    number: int
    text: str
    source: PageSource
    confidence: float
    seconds: float = 0.0
    width_px: int = 0
    height_px: int = 0
    word_table: str = ""
    marks: list[PageMark] = Field(default_factory=list)

    @property
    def words(self) -> Iterator[PageWord]:
        """The words that have a place on the page, in the text's order; at most 100,000 of a text layer.

        >>> page = PageText(number=1, text="Deed of", source="ocr", confidence=0.7,
        ...                 word_table=pack_words([PageWord("Deed", 0, 0.5, 36, 92, 96, 116, 1, 1)]))
        >>> [(word.text, word.suspect, word.left) for word in page.words]
        [('Deed', True, 36)]
        """
        for row in self.word_table.splitlines():
            start, length, percent, *place = map(int, row.split())
            yield PageWord(self.text[start : start + length], start, percent / 100, *place)


def pack_words(words: Iterable[PageWord]) -> str:
    """`PageText.word_table` for these words: a row each of start, length, confidence in percent, box, block, line."""
    rows = [(word.start, len(word.text), round(word.confidence * 100), *word[3:]) for word in words]
    return pack_columns(*zip(*rows, strict=True)) if rows else ""


def pack_columns(*columns: Iterable[int]) -> str:
    r"""The same for what is in columns already; this saves making a million objects.

    >>> pack_columns([0, 5], [4, 2], [100, 100])
    '0 4 100\n5 2 100'
    """
    return "\n".join(map(" ".join, zip(*(map(_DECIMALS.__getitem__, column) for column in columns), strict=True)))


class _Decimals(dict[int, str]):
    def __missing__(self, number: int) -> str:
        return str(number)


_DECIMALS: Final = _Decimals((number, str(number)) for number in range(4_096))  # a third of the time of str()


class DocumentText(Model):
    """All pages of one document in order."""

    pages: list[PageText]

    @property
    def characters(self) -> int:
        """Total length of all pages' text."""
        return sum(len(page.text) for page in self.pages)


# ── contracts ────────────────────────────────────────────────────────────────────────────────────────────────────


class Quote(Model):
    """A verbatim passage: ``page.text[start:end] == text``, page 1-based, offsets in characters of that page."""

    page: int
    start: int
    end: int
    text: str


class Fact(Model):
    """One fact found in a contract.

    Attributes:
        kind: ``buyer``, ``seller``, ``landlord``, ``tenant``, ``party``, ``property_address``, ``legal_description``,
            ``purchase_price``, ``earnest_money``, ``deposit``, ``rent``, ``term``, ``agreement_date``,
            ``closing_date``, ``commencement_date``, ``expiration_date``, ``inspection_deadline``,
            ``financing_deadline``, ``governing_law``, and as later versions add.
        value: normalised: dates ISO 8601, money ``"425000.00 USD"``, names and addresses on one line.
        quote: where it stands.
        confidence: 0..1.
    """

    kind: str
    value: str
    quote: Quote
    confidence: float


class Extraction(Model):
    """The facts of one contract, best first within each kind."""

    document_class: DocumentClass
    class_confidence: float
    facts: list[Fact]

    def first(self, kind: str) -> Fact | None:
        """The best fact of a kind, or None."""
        return next((fact for fact in self.facts if fact.kind == kind), None)


class KeyPoint(Model):
    """One sentence of a summary and the passage that supports it."""

    text: str
    quote: Quote | None = None


class Summary(Model):
    """A summary of at most 2,500 characters; every number, date and name in it stands in the document."""

    text: str
    key_points: list[KeyPoint]


class Severity(StrEnum):
    """How much a finding matters."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Clause(Model):
    """A clause category that a contract of this class usually has, and whether it was found.

    ``name`` is a stable identifier (``financing_contingency``), ``title`` its English name.
    """

    name: str
    title: str
    present: bool
    quote: Quote | None = None


class Finding(Model):
    """Something a person should look at: a missing clause, an inconsistency, a risk."""

    code: str
    severity: Severity
    title: str
    detail: str
    quote: Quote | None = None


class Analysis(Model):
    """Clauses present and missing, and findings, worst first."""

    clauses: list[Clause]
    findings: list[Finding]


class Usage(Model):
    """What an answer cost; zeros for the offline provider.

    ``reused``: it was asked for before and kept. The cost is then told only where it was asked for the same contract,
    so that it stands in one place.
    """

    provider: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    reused: bool = False


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Report(Model):
    """Everything an exported report is made from; rendering adds nothing of its own.

    Attributes:
        generated_at: aware; printed on the cover, and the PDF's creation date (same report, same bytes).
    """

    title: str
    file_name: str
    generated_at: datetime
    document: DocumentInfo
    pages: list[PageText]
    extraction: Extraction
    summary: Summary
    analysis: Analysis
    usage: list[Usage] = Field(default_factory=list)


# ── the product's flows ──────────────────────────────────────────────────────────────────────────────────────────

LLM_STEPS = {"analyse": "analyse_contract", "summarise": "summarise_contract", "extract": "extract_terms"}


def _flow(task_id: str, kind: str, tenant_id: str, *steps: Step) -> Flow:
    return Flow(id=task_id, kind=kind, tenant_id=tenant_id, created_at=datetime.now(UTC), steps=steps)


def _llm_steps(kwargs: dict[str, Any], needs: tuple[str, ...]) -> list[Step]:
    return [Step(name=n, queue="llm", function=f, kwargs=kwargs, needs=needs) for n, f in LLM_STEPS.items()]


def _read_steps(file: dict[str, Any], contract: dict[str, Any], needs: tuple[str, ...]) -> list[Step]:
    """Read a file's text: its pages in ranges, over all workers, and then put together."""
    both = {**file, **contract}
    return [
        Step(name="plan", queue="ingest", function="plan_pages", kwargs=file, needs=needs),
        Step(name="ocr", queue="ocr", function="ocr_pages", kwargs=both, each="plan.ranges"),
        # Quick, and others wait for it: it goes before further pages of the same tenant.
        Step(name="join", queue="ocr", function="join_pages", kwargs=both, reads=("ocr",), priority=9),
    ]


def process_file(
    *, task_id: str, tenant_id: str, file_id: str, contract_id: str, sealed_password: str | None = None
) -> Flow:
    """The intake flow: ingest -> plan -> ocr, by ranges of pages -> join -> (analyse, summarise, extract) -> export.

    ``sealed_password`` (see `jobqueue.ports.Seal`) opens a protected PDF; it goes with the ingest step alone.
    """
    file = {"tenant_id": tenant_id, "file_id": file_id}
    secret = {"sealed_password": sealed_password} if sealed_password else {}
    contract = {"tenant_id": tenant_id, "contract_id": contract_id}
    return _flow(
        task_id,
        "process_file",
        tenant_id,
        Step(name="ingest", queue="ingest", function="ingest_document", kwargs={**file, **secret}),
        *_read_steps(file, contract, needs=("ingest",)),
        *_llm_steps(contract, needs=("join",)),
        Step(name="export", queue="export", function="export_report", kwargs=contract, needs=tuple(LLM_STEPS)),
    )


def ocr_file(*, task_id: str, tenant_id: str, file_id: str, contract_id: str) -> Flow:
    """Read one accepted file's text again."""
    file = {"tenant_id": tenant_id, "file_id": file_id}
    contract = {"tenant_id": tenant_id, "contract_id": contract_id}
    return _flow(task_id, "ocr_file", tenant_id, *_read_steps(file, contract, needs=()))


def analyze_contract(*, task_id: str, tenant_id: str, contract_id: str) -> Flow:
    """Analyse, summarise and extract a contract whose text is there."""
    contract = {"tenant_id": tenant_id, "contract_id": contract_id}
    return _flow(task_id, "analyze_contract", tenant_id, *_llm_steps(contract, needs=()))


def export_contract(*, task_id: str, tenant_id: str, contract_id: str, formats: list[str]) -> Flow:
    """Write reports of an analysed contract, or the text of its file; see `jobqueue.payloads.ReportFormat`."""
    kwargs = {"tenant_id": tenant_id, "contract_id": contract_id, "formats": formats}
    step = Step(name="export", queue="export", function="export_report", kwargs=kwargs)
    return _flow(task_id, "export_contract", tenant_id, step)
