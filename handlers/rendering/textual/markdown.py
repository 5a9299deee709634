r"""A document's text as Markdown (CommonMark): paragraphs, and tables where tabs say that they are.

Which line is a heading can't be told of text alone, so none is made one; and whatever in the text looks like markup is
escaped, so that a page saying ``# Deed`` or ``<img src=…>`` is read so. A rule (``---``) stands between pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from handlers.rendering.textual.document import read_document, writing

_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>&|~$]")
_LINK: Final = re.compile(r"(?i)(?<=\w)(?=@)|(?<=https)(?=:)|(?<=http)(?=:)|(?<=ftp)(?=:)|(?<=www)(?=\.)")
_LINE_START: Final = re.compile(r"^(\d{0,9})([#+=.)-])")
_MIN_ROWS: Final = 2


def write_md(text_path: str, out_path: str) -> None:
    """Write the text at ``text_path`` to ``out_path``. Raises as `read_document`."""
    with writing(out_path) as out:
        for number, page in enumerate(read_document(text_path).pages):
            if number:
                out.write("\n---\n\n")
            out.write("\n\n".join(_blocks(page.text)) + "\n")


def escaped(line: str) -> str:
    r"""One line of text as Markdown that shows just that.

    >>> print(escaped("1. See *Exhibit* <A> at http://a.example"))
    1\. See \*Exhibit\* \<A\> at http\://a.example
    """
    text = _LINK.sub(r"\\", _MARKUP.sub(r"\\\g<0>", " ".join(line.split())))
    return _LINE_START.sub(r"\1\\\2", text)


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs and tables; lines of a paragraph stay lines."""
    for (cells, blank), group in groupby(text.splitlines(), key=lambda line: (line.count("\t"), not line.strip())):
        lines = list(group)
        if blank:
            continue
        if cells and len(lines) >= _MIN_ROWS:
            yield _table(lines)
        else:
            yield "\\\n".join(escaped(line) for line in lines)


def _table(lines: list[str]) -> str:
    rows = [f"| {' | '.join(escaped(cell) for cell in line.split(chr(9)))} |" for line in lines]
    return "\n".join([rows[0], "|" + " --- |" * (lines[0].count("\t") + 1), *rows[1:]])
