"""What a report consists of before it is a PDF or a DOCX: headings, paragraphs, lists, tables, callouts.

Every string in here is printable, on one line and bounded (see `handlers.rendering.text`); a writer still has to
escape it for its own format.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from jobqueue.tasks import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Running text; ``note`` is set smaller and lighter."""

    text: str
    style: Literal["body", "note"] = "body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """An unordered list."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A table's column; ``share`` is its part of the width (a table's shares add up to 1).

    A cell that says ``alert`` is set so that it is not overlooked.
    """

    title: str
    share: float
    style: Literal["text", "strong", "number", "quote"] = "text"
    alert: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a header that is repeated on every page; each row has one cell a column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Callout:
    """One finding. ``label`` says how much it matters and where it stands; ``quote`` may be empty."""

    severity: Severity
    label: str
    title: str
    text: str
    quote: str = ""


Block = Paragraph | Bullets | Table | Callout


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A whole report.

    Attributes:
        cover: label and value of each line of the cover block.
        disclaimer: stands at the foot of every page.
        generated_at: aware; the creation date written into the file.
    """

    title: str
    kicker: str
    cover: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    disclaimer: str
    generated_at: datetime
