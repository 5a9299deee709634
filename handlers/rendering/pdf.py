"""A report as PDF. The same report gives the same bytes.

Blocking, and fed with strings out of hostile documents: runs in the sandbox.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handlers.rendering.outline import build_outline, read_report


def render_pdf(report: dict[str, Any], out_path: str) -> dict[str, Any]:
    """Write ``report`` (plain data of `jobqueue.tasks.Report`) to ``out_path``.

    Returns:
        ``size_bytes`` and ``pages``.

    Raises:
        InvalidInput: ``report`` is not a report.
    """
    from handlers.rendering.pdf_layout import write_pdf  # noqa: PLC0415  # ReportLab is loaded in the sandbox alone

    pages = write_pdf(build_outline(read_report(report)), out_path)
    return {"size_bytes": Path(out_path).stat().st_size, "pages": pages}
