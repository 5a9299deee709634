"""A report as DOCX. The same report gives the same bytes.

Blocking, and fed with strings out of hostile documents: runs in the sandbox. (Not named ``docx``: that is the library.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handlers.rendering.outline import build_outline, read_report


def render_docx(report: dict[str, Any], out_path: str) -> dict[str, Any]:
    """Write ``report`` (plain data of `jobqueue.tasks.Report`) to ``out_path``.

    Returns:
        ``size_bytes``, and ``pages``, which is None: only a word processor knows where a page ends.

    Raises:
        InvalidInput: ``report`` is not a report.
    """
    from handlers.rendering.word_layout import write_docx  # noqa: PLC0415  # python-docx is loaded in the sandbox alone

    write_docx(build_outline(read_report(report)), out_path)
    return {"size_bytes": Path(out_path).stat().st_size, "pages": None}
