"""A document's text as JSON for programs: pages, and their words with boxes."""

from __future__ import annotations

import json
from typing import Any

from handlers.rendering.textual.document import read_document, writing
from jobqueue.tasks import PageText


def write_json(text_path: str, out_path: str) -> None:
    """Write the text at ``text_path`` to ``out_path``: ``{"pages": […]}``, one page a line.

    A page has ``number`` (from 1), ``text``, ``source``, ``confidence`` (0..1), ``width`` and ``height`` in pixels
    (null where no word has a place) and ``words``: ``text``, ``start`` (offset in the page's text, in characters),
    ``confidence``, ``box`` (left, top, right, bottom in those pixels), ``block`` and ``line``; and ``marks``: ``kind``,
    ``checked``, ``filled``, ``label``, ``source`` and ``box``, as `jobqueue.tasks.PageMark` has them.

    Raises as `read_document`.
    """
    with writing(out_path) as out:
        out.write('{"pages": [')
        for number, page in enumerate(read_document(text_path).pages):
            out.write(",\n" if number else "\n")
            out.write(json.dumps(_page(page), ensure_ascii=False))
        out.write("\n]}\n")


def _page(page: PageText) -> dict[str, Any]:
    return {
        "number": page.number,
        "text": page.text,
        "source": page.source.value,
        "confidence": page.confidence,
        "width": page.width_px or None,
        "height": page.height_px or None,
        "words": [
            {
                "text": word.text,
                "start": word.start,
                "confidence": word.confidence,
                "box": [word.left, word.top, word.right, word.bottom],
                "block": word.block,
                "line": word.line,
            }
            for word in page.words
        ],
        "marks": [
            {
                "kind": mark.kind,
                "checked": mark.checked,
                "filled": mark.filled,
                "label": mark.label,
                "source": mark.source,
                "box": [mark.left, mark.top, mark.right, mark.bottom],
            }
            for mark in page.marks
        ],
    }
