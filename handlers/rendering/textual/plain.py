"""A document's text as plain text: UTF-8, a form feed between pages."""

from __future__ import annotations

from handlers.rendering.textual.document import read_document, writing


def write_txt(text_path: str, out_path: str) -> None:
    """Write the text at ``text_path`` (JSON of `jobqueue.tasks.DocumentText`) to ``out_path``.

    A form feed stands between two pages, as ``pdftotext`` has it, so that the n-th piece is page n.

    Raises as `read_document`.
    """
    with writing(out_path) as out:
        for number, page in enumerate(read_document(text_path).pages):
            if number:
                out.write("\f")
            out.write(page.text.replace("\f", "\n") + "\n")
