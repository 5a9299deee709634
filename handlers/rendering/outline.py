"""From a report's data to its outline: what is said, in which order, in which words. Pure; the writers only lay out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from itertools import groupby
from typing import Any, Final

from pydantic import ValidationError

from handlers.rendering import labels
from handlers.rendering.blocks import Block, Bullets, Callout, Column, Outline, Paragraph, Section, Table
from handlers.rendering.text import clean, count, paragraphs, parse_date, percent, readable_date, readable_value
from jobqueue.errors import InvalidInput
from jobqueue.tasks import Fact, PageSource, PageText, Quote, Report, Severity, Usage

# Lengths in characters. With these no table row can grow taller than a page.
NAME_CHARS: Final = 200
VALUE_CHARS: Final = 300
QUOTE_CHARS: Final = 240
DETAIL_CHARS: Final = 1_200
SUMMARY_CHARS: Final = 4_000
MAX_ROWS: Final = 500
"""Rows a table shows; how many more there are is said below it. Pages are not cut: a file has at most 2,000."""

DISCLAIMER: Final = "Machine-read; check against the source document."


def read_report(report: dict[str, Any]) -> Report:
    """The report out of plain data.

    Raises:
        InvalidInput: a field is missing or wrong; names the first.
    """
    try:
        return Report.model_validate(report)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"this is not a report: {where}: {first['msg']}") from exc


def build_outline(report: Report) -> Outline:
    """Everything a reader gets to see, in reading order; the same report gives the same outline."""
    facts = report.extraction.facts
    parties = [fact for fact in facts if fact.kind in labels.PARTIES]
    dates = [fact for fact in facts if _is_date(fact)]
    terms = [fact for fact in facts if fact.kind not in labels.PARTIES and not _is_date(fact)]
    return Outline(
        title=clean(report.title, NAME_CHARS) or "Untitled",
        kicker="Contract report",
        cover=_cover(report),
        sections=(
            _summary(report),
            _key_terms(terms),
            _parties(parties),
            _dates(dates),
            _findings(report),
            _clauses(report),
            _provenance(report.pages),
            _origin(report),
        ),
        disclaimer=DISCLAIMER,
        generated_at=report.generated_at,
    )


def _cover(report: Report) -> tuple[tuple[str, str], ...]:
    extraction, document = report.extraction, report.document
    at = report.generated_at.astimezone(UTC)  # a database may give the same moment in another zone
    present = sum(clause.present for clause in report.analysis.clauses)
    high = sum(finding.severity is Severity.HIGH for finding in report.analysis.findings)
    findings = count(len(report.analysis.findings), "finding") + (f", {high:,} of high severity" if high else "")
    return (
        ("File", clean(report.file_name, NAME_CHARS) or "unnamed"),
        (
            "Document class",
            f"{labels.CLASSES[extraction.document_class]} ({percent(extraction.class_confidence)} confidence)",
        ),
        ("Pages", f"{document.pages:,}"),
        ("Found", f"{count(len(extraction.facts), 'fact')}; {findings}"),
        ("Clauses", f"{present:,} of {count(len(report.analysis.clauses), 'usual clause')} present"),
        ("Generated", f"{readable_date(at.date())}, {at:%H:%M} UTC"),
    )


def _summary(report: Report) -> Section:
    blocks: list[Block] = [Paragraph(text=text) for text in paragraphs(report.summary.text, SUMMARY_CHARS)]
    points = tuple(
        text + (f" (page {point.quote.page:,})" if point.quote else "")
        for point in report.summary.key_points[:MAX_ROWS]
        if (text := clean(point.text, DETAIL_CHARS))
    )
    if points:
        blocks.append(Bullets(items=points))
    return _section("Summary", blocks, "The document has no summary.")


def _key_terms(facts: Sequence[Fact]) -> Section:
    columns = (
        Column(title="Term", share=0.17, style="strong"),
        Column(title="Value", share=0.28),
        Column(title="Page", share=0.08, style="number"),
        Column(title="Confidence", share=0.13, style="number"),
        Column(title="Wording in the document", share=0.34, style="quote"),
    )
    rows = [
        (labels.kind(clean(f.kind, 60)), _value(f), f"{f.quote.page:,}", percent(f.confidence), _quoted(f.quote))
        for f in facts
    ]
    return _section("Key terms", _table(columns, rows), "No key terms were found.")


def _parties(facts: Sequence[Fact]) -> Section:
    columns = (
        Column(title="Role", share=0.17, style="strong"),
        Column(title="Name", share=0.62),
        Column(title="Page", share=0.08, style="number"),
        Column(title="Confidence", share=0.13, style="number"),
    )
    rows = [(labels.kind(f.kind), _value(f), f"{f.quote.page:,}", percent(f.confidence)) for f in facts]
    return _section("Parties", _table(columns, rows), "No parties were found.")


def _dates(facts: Sequence[Fact]) -> Section:
    columns = (
        Column(title="Date", share=0.15, style="strong"),
        Column(title="In words", share=0.30),
        Column(title="What", share=0.34),
        Column(title="Page", share=0.08, style="number"),
        Column(title="Confidence", share=0.13, style="number"),
    )
    dated = sorted(((day, fact) for fact in facts if (day := parse_date(fact.value))), key=lambda pair: pair[0])
    rows = [
        (
            day.isoformat(),
            readable_date(day),
            labels.kind(clean(fact.kind, 60)),
            f"{fact.quote.page:,}",
            percent(fact.confidence),
        )
        for day, fact in dated
    ]
    return _section("Dates", _table(columns, rows), "No dates were found.")


def _findings(report: Report) -> Section:
    order = list(labels.SEVERITIES)
    worst_first = sorted(report.analysis.findings, key=lambda finding: order.index(finding.severity))
    blocks: list[Block] = [
        Callout(
            severity=finding.severity,
            label=labels.SEVERITIES[finding.severity] + (f" · page {finding.quote.page:,}" if finding.quote else ""),
            title=clean(finding.title, NAME_CHARS) or "Untitled",
            text=clean(finding.detail, DETAIL_CHARS),
            quote=_quoted(finding.quote),
        )
        for finding in worst_first[:MAX_ROWS]
    ]
    blocks += _left_out(len(worst_first))
    return _section("Findings", blocks, "Nothing was found that needs attention.")


def _clauses(report: Report) -> Section:
    columns = (
        Column(title="Clause", share=0.30, style="strong"),
        Column(title="Status", share=0.14, alert=labels.MISSING),
        Column(title="Page", share=0.08, style="number"),
        Column(title="Wording in the document", share=0.48, style="quote"),
    )
    rows = [
        (
            clean(clause.title, NAME_CHARS) or labels.kind(clean(clause.name, 60)),
            labels.PRESENT if clause.present else labels.MISSING,
            f"{clause.quote.page:,}" if clause.quote else "–",
            _quoted(clause.quote),
        )
        for clause in report.analysis.clauses
    ]
    nothing = "There is no list of usual clauses for a document of this class."
    return _section("Clause checklist", _table(columns, rows), nothing)


def _provenance(pages: Sequence[PageText]) -> Section:
    columns = (
        Column(title="Pages", share=0.18, style="strong"),
        Column(title="Where the text comes from", share=0.44),
        Column(title="Characters", share=0.19, style="number"),
        Column(title="Confidence", share=0.19, style="number"),
    )
    rows = []
    # Neighbours that were read in the same way and as surely share a row: 500 pages of text layer are one line.
    for (source, confidence), group in groupby(pages, key=lambda page: (page.source, _sureness(page))):
        run = list(group)
        first, last = run[0].number, run[-1].number
        numbers = f"{first:,}" if first == last else f"{first:,}–{last:,}"
        rows.append((numbers, labels.SOURCES[source], f"{sum(len(p.text) for p in run):,}", confidence))
    return _section("How each page was read", [Table(columns=columns, rows=tuple(rows))] if rows else [], "No pages.")


def _origin(report: Report) -> Section:
    document = report.document
    columns = (Column(title="Property", share=0.25, style="strong"), Column(title="Value", share=0.75))
    rows = [
        ("Type", clean(document.mime_type, NAME_CHARS)),
        ("Size", count(document.size_bytes, "byte")),
        ("SHA-256", clean(document.sha256, NAME_CHARS)),
    ]
    rows += [(labels.kind(clean(k, 60)), clean(v, VALUE_CHARS)) for k, v in sorted(document.metadata.items())]
    rows += [("Warning", clean(warning, VALUE_CHARS)) for warning in document.warnings]
    blocks = _table(columns, [row for row in rows if row[1]])
    for provider, group in groupby(sorted(report.usage, key=lambda u: (u.provider, u.model)), key=_provider):
        used = list(group)
        tokens = sum(u.input_tokens for u in used), sum(u.output_tokens for u in used)
        cost = f"{tokens[0]:,} tokens read, {tokens[1]:,} written" if any(tokens) else "no tokens used"
        text = f"Analysed by {provider} in {count(len(used), 'call')}: {cost}, {sum(u.seconds for u in used):.1f} s."
        blocks.append(Paragraph(text=text, style="note"))
    blocks.append(
        Paragraph(
            text="This report was written by a program that can misread and overlook. Confidence is the program's own "
            "estimate. Before you rely on a statement, read the passage it names in the source document. This is not "
            "legal advice.",
            style="note",
        ),
    )
    return Section(heading="Source and method", blocks=tuple(blocks))


def _provider(usage: Usage) -> str:
    return clean(f"{usage.provider}/{usage.model}", NAME_CHARS)


def _sureness(page: PageText) -> str:
    return "–" if page.source is PageSource.EMPTY else percent(page.confidence)


def _is_date(fact: Fact) -> bool:
    return fact.kind.endswith(("date", "deadline")) and parse_date(fact.value) is not None


def _value(fact: Fact) -> str:
    return readable_value(clean(fact.value, VALUE_CHARS)) or "–"


def _quoted(quote: Quote | None) -> str:
    text = clean(quote.text, QUOTE_CHARS) if quote else ""
    return f"“{text}”" if text else ""


def _table(columns: tuple[Column, ...], rows: Sequence[tuple[str, ...]]) -> list[Block]:
    if not rows:
        return []
    return [Table(columns=columns, rows=tuple(rows[:MAX_ROWS])), *_left_out(len(rows))]


def _left_out(total: int) -> list[Paragraph]:
    more = total - MAX_ROWS
    return [Paragraph(text=f"{more:,} more are not shown here.", style="note")] if more > 0 else []


def _section(heading: str, blocks: Iterable[Block], nothing: str) -> Section:
    return Section(heading=heading, blocks=tuple(blocks) or (Paragraph(text=nothing, style="note"),))
