"""A document's text as ALTO 4 (https://www.loc.gov/standards/alto/), all pages in one file.

Positions are pixels of the page's picture. Text of which no place is known has none: ALTO 4 asks for no positions.
"""

from __future__ import annotations

from collections.abc import Iterator

from handlers.rendering.textual.document import Box, Region, enclosing, read_document, regions, writing, xml_text
from jobqueue.tasks import PageText

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#" SCHEMAVERSION="4.2">
<Description>
<MeasurementUnit>pixel</MeasurementUnit>
<Processing ID="processing_1">
<processingSoftware><softwareName>jobqueue</softwareName></processingSoftware>
</Processing>
</Description>
<Layout>
"""


def write_alto(text_path: str, out_path: str) -> None:
    """Write the text at ``text_path`` to ``out_path``. Raises as `read_document`."""
    with writing(out_path) as out:
        out.write(_HEAD)
        for page in read_document(text_path).pages:
            out.writelines(f"{line}\n" for line in _page(page))
        out.write("</Layout>\n</alto>\n")


def _page(page: PageText) -> Iterator[str]:
    size = f' WIDTH="{page.width_px}" HEIGHT="{page.height_px}"' if page.width_px else ""
    yield (
        f'<Page ID="page_{page.number}" PHYSICAL_IMG_NR="{page.number}"{size} '
        f'PC="{min(max(page.confidence, 0.0), 1.0):.4g}">'
    )
    yield f'<PrintSpace HPOS="0" VPOS="0"{size}>' if size else "<PrintSpace>"
    for number, region in enumerate(regions(page), start=1):
        yield from _block(region, f"{page.number}_{number}")
    yield "</PrintSpace>"
    yield "</Page>"


def _block(region: Region, number: str) -> Iterator[str]:
    if region.loose:
        yield f'<TextBlock ID="block_{number}">'
        for line in filter(str.strip, region.loose.splitlines()):
            yield _line("", [f'<String CONTENT="{content}"/>' for content in map(xml_text, line.split()) if content])
    else:
        box = enclosing(word for line in region.lines for word in line)
        yield f'<TextBlock ID="block_{number}"{_place(box)}>'
        for words in region.lines:
            strings = [
                f'<String{_place((word.left, word.top, word.right, word.bottom))} WC="{word.confidence:.4g}" '
                f'CONTENT="{xml_text(word.text)}"/>'
                for word in words
            ]
            yield _line(_place(enclosing(words)), strings)
    yield "</TextBlock>"


def _line(place: str, strings: list[str]) -> str:
    return f"<TextLine{place}>{'<SP/>'.join(strings) or _NOTHING}</TextLine>"


_NOTHING = '<String CONTENT=""/>'  # a line must have a string, also where all of it was illegal in XML


def _place(box: Box) -> str:
    left, top, right, bottom = box
    return f' HPOS="{left}" VPOS="{top}" WIDTH="{right - left}" HEIGHT="{bottom - top}"'
