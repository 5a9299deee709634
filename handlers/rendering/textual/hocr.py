"""A document's text as hOCR 1.2 (https://kba.github.io/hocr-spec/1.2/), in XHTML: what was read, and where it stands.

Words have boxes in pixels of the page's picture, and ``x_wconf`` in percent. Text of which no place is known is an
``ocr_par`` without a box: hOCR's logical elements need none.
"""

from __future__ import annotations

from collections.abc import Iterator

from handlers.rendering.textual.document import Box, Region, enclosing, read_document, regions, writing, xml_text
from jobqueue.tasks import PageText, PageWord

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
<head>
<title>Text of a document</title>
<meta http-equiv="Content-Type" content="text/html;charset=utf-8" />
<meta name="ocr-system" content="jobqueue" />
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_par ocr_line ocrx_word ocrp_wconf" />
</head>
<body>
"""


def write_hocr(text_path: str, out_path: str) -> None:
    """Write the text at ``text_path`` to ``out_path``. Raises as `read_document`."""
    with writing(out_path) as out:
        out.write(_HEAD)
        for page in read_document(text_path).pages:
            out.writelines(f"{line}\n" for line in _page(page))
        out.write("</body>\n</html>\n")


def _page(page: PageText) -> Iterator[str]:
    title = f"{_bbox((0, 0, page.width_px, page.height_px))}; ppageno {page.number - 1}"
    yield f'<div class="ocr_page" id="page_{page.number}" title="{title}">'
    for number, region in enumerate(regions(page), start=1):
        yield from _area(region, f"{page.number}_{number}")
    yield "</div>"


def _area(region: Region, number: str) -> Iterator[str]:
    if region.loose:
        shown = "<br />\n".join(xml_text(line) for line in region.loose.splitlines())
        yield f'<p class="ocr_par" id="par_{number}">{shown}</p>'
        return
    box = enclosing(word for line in region.lines for word in line)
    yield f'<div class="ocr_carea" id="block_{number}" title="{_bbox(box)}">'
    for row, line in enumerate(region.lines, start=1):
        yield f'<span class="ocr_line" id="line_{number}_{row}" title="{_bbox(enclosing(line))}">'
        yield from (_word(word, f"{number}_{row}_{place}") for place, word in enumerate(line, start=1))
        yield "</span>"
    yield "</div>"


def _word(word: PageWord, number: str) -> str:
    title = f"{_bbox((word.left, word.top, word.right, word.bottom))}; x_wconf {round(100 * word.confidence)}"
    return f'<span class="ocrx_word" id="word_{number}" title="{title}">{xml_text(word.text)}</span>'


def _bbox(box: Box) -> str:
    return f"bbox {' '.join(map(str, box))}"
