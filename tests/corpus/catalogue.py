"""Every specimen, and which of them continuous integration runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from tests.clamd_support import EICAR, zipped
from tests.corpus import scans, traps
from tests.corpus.specimens import DONE, ENDS, REFUSED, UNREAD, Specimen, undecodable
from tests.unit import hostile_files as files

_Named = tuple[str, Callable[[], bytes]]
_NO_TEXT: Final = undecodable(b"latin \xe9.txt")


def _pages() -> list[Specimen]:
    turned: list[_Named] = [(f"turned {n}.pdf", partial(scans.turned_pdf, n)) for n in (90, 180, 270)]
    skewed: list[_Named] = [(f"skewed {n}.pdf", partial(scans.skewed_pdf, n)) for n in (1, 4, 8)]
    good: list[_Named] = [
        ("text.pdf", files.text_pdf),
        ("text, scan and blank.pdf", files.mixed_pdf),
        ("scan with a stamp.pdf", files.stamped_scan_pdf),
        ("scan with a garbled layer.pdf", files.garbled_scan_pdf),
        ("form.pdf", files.form_pdf),
        ("owner's password only.pdf", files.restricted_pdf),
        ("rotated by its entry.pdf", scans.rotated_by_entry_pdf),
        ("two columns.pdf", scans.two_columns_pdf),
        ("fax.tif", scans.fax_tiff),
        ("two pages.tif", files.multi_page_tiff),
        ("cmyk.jpg", scans.cmyk_jpeg),
        ("600 dpi.png", scans.fine_png),
        ("utf-16.txt", files.utf16_text),
        ("mail with a receipt.eml", lambda: traps.mail(attachment=files.text_pdf())),
        ("mail.eml", traps.mail),
        ("good.rtf", traps.rtf),
        ("good.docx", traps.word),
        ("good.zip", traps.good_zip),
    ]
    blank: list[_Named] = [
        ("blank.pdf", lambda: files.raw_pdf(*files.ONE_BLANK_PAGE)),
        ("blank scan.pdf", scans.blank_scan_pdf),
        ("script.pdf", traps.scripted_pdf),
        ("draws itself.pdf", traps.self_drawing_pdf),
        ("bottomless array.pdf", traps.bottomless_array_pdf),
        ("poster.pdf", files.poster_pdf),
    ]
    return [
        *(Specimen(name=name, make=make, states=DONE) for name, make in (*good, *turned, *skewed)),
        *(Specimen(name=name, make=make, states=UNREAD, reason="nothing readable") for name, make in blank),
        Specimen(name="dim photo.jpg", make=scans.dim_photo, states=("done", "failed")),
        Specimen(name="unmapped glyphs.pdf", make=files.unmapped_text_pdf, states=("done", "failed")),
        Specimen(name="animated.gif", make=lambda: scans.animated("GIF"), states=REFUSED, reason="image/gif"),
        Specimen(name="animated.webp", make=lambda: scans.animated("WEBP"), states=ENDS),
        Specimen(name="animated.png", make=lambda: scans.animated("PNG"), states=ENDS),
    ]


def _broken() -> list[Specimen]:
    def refused(name: str, make: Callable[[], bytes], reason: str = "") -> Specimen:
        return Specimen(name=name, make=make, states=REFUSED, reason=reason)

    return [
        refused("empty.pdf", files.empty, "empty"),
        refused("encrypted.pdf", files.encrypted_pdf, "password"),
        refused("no pages.pdf", files.pageless_pdf),
        refused("a web page.pdf", files.web_page),
        refused("text named.pdf", files.text_named_pdf),
        refused("noise.pdf", files.binary_noise),
        refused("cut off.png", files.cut_off_png),
        refused("cut off.jpg", files.cut_off_jpeg),
        refused("noise.tif", files.scrambled_tiff),
        refused("huge.png", files.huge_png),
        refused("a program.pdf", lambda: b"MZ" + bytes(3_000)),
        refused("cut off.pdf", files.truncated_pdf),
        refused("cut off, for the web.pdf", files.linearized_and_truncated_pdf),
        refused("lies about its pages.pdf", files.lying_page_count_pdf),
        Specimen(name="pdf named.jpg", make=files.text_pdf, states=("done", "rejected")),
        Specimen(name="png named.pdf", make=lambda: files.picture(files.print_page("Deed"), "PNG"), states=ENDS),
        Specimen(name="endless.tif", make=files.endless_tiff, states=ENDS),
    ]


def _hostile() -> list[Specimen]:
    endings = [
        ("climbing.zip", traps.climbing_zip),
    ]
    refused = [
        ("drawing bomb.pdf", traps.drawing_bomb_pdf),
        ("blank bomb.pdf", traps.blank_bomb_pdf),
        ("bottomless pages.pdf", traps.bottomless_pages_pdf),
        ("circular pages.pdf", traps.circular_pages_pdf),
        ("starts a program.pdf", traps.launching_pdf),
        ("pdf and zip.pdf", traps.pdf_that_is_a_zip_too),
        ("jpeg and zip.jpg", traps.jpeg_that_is_a_zip_too),
        ("giant.png", scans.bilevel_giant_png),
        ("deep.rtf", traps.deep_rtf),
        ("bomb.zip", traps.zip_bomb),
        ("nested.zip", traps.nested_zip),
        ("macros.docx", traps.word_with_macros),
        ("macros.docm", traps.word_with_macros),
        ("bomb.docx", traps.word_bomb),
        ("laughs.docx", traps.laughing_word),
    ]
    return [
        *(Specimen(name=name, make=make, states=ENDS) for name, make in endings),
        *(Specimen(name=name, make=make, states=REFUSED) for name, make in refused),
    ]


def _infected() -> list[Specimen]:
    carriers = {
        "eicar.txt": lambda: EICAR,
        "eicar.zip": lambda: zipped(("a.txt", EICAR)),
        "eicar, nested.zip": lambda: zipped(("b.zip", zipped(("a.txt", EICAR)))),
        "eicar.docx": lambda: traps.word_plus("word/embeddings/oleObject1.bin", EICAR),
    }
    return [
        Specimen(name=name, make=make, states=("quarantined",), reason="infected", needs_clamd=True)
        for name, make in carriers.items()
    ]


def _names() -> list[Specimen]:
    names = [
        "red \x1b[31m alert \x07.txt",
        "two\nlines.txt",
        "rever\u202etxt.exe.txt",
        "-rf.txt",
        "zero\u200bwidth.txt",
        "Käufer 買い手 🏠.txt",
        f"{'long' * 60}.txt",
        "%s%00..%2f.txt",
        _NO_TEXT,
    ]
    texts = {name: f"{files.PROSE}\n{name!a}".encode() for name in names}  # each its own: none is a duplicate
    return [Specimen(name=name, make=partial(bytes, text), states=DONE) for name, text in texts.items()]


CATALOGUE: Final = [*_pages(), *_broken(), *_hostile(), *_infected(), *_names()]
_IN_SMOKE: Final = {"text.pdf", "encrypted.pdf", "blank.pdf", "eicar.zip", _NO_TEXT}
SMOKE: Final = [specimen for specimen in CATALOGUE if specimen.name in _IN_SMOKE]
"""One of each outcome, for seconds instead of a minute."""
