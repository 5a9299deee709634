"""The fields of a PDF's form that are seen on a page: check boxes, radio buttons, text and signature fields."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from handlers.documents.cleaning import clean_line
from handlers.documents.engine_parts import rendered
from handlers.documents.marks_labels import MAX_LABEL_CHARS, Around, sides
from handlers.documents.ocr_engines import Box
from jobqueue.tasks import PageMark

if TYPE_CHECKING:
    import pikepdf

_MAX_ANNOTATIONS: Final = 2_000  # looked at on a page
_MAX_PARENTS: Final = 20  # of a field; a circle of them would have no end
_HIDDEN: Final = 0x02 | 0x20  # ISO 32000-1, table 165: hidden, no view
_PUSHED: Final = 1 << 16  # table 226: a push button has no state
_KINDS: Final[dict[str, Literal["checkbox", "signature", "field"]]] = {
    "/Btn": "checkbox",
    "/Sig": "signature",
    "/Tx": "field",
    "/Ch": "field",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Widget:
    """A field as it is seen on a page.

    Attributes:
        name: what the field is called for people, or else for programs.
        state: ticked, or has a value; None where a button doesn't say.
        box: left, top, right, bottom in parts of the page's width and height as it is rendered.
    """

    kind: Literal["checkbox", "signature", "field"]
    name: str
    state: bool | None
    box: tuple[float, float, float, float]


def widgets(page: pikepdf.Page, *, at_most: int) -> list[Widget]:
    """The form fields on a page that can be seen; what is not as it should be is left out."""
    import pikepdf

    found = list[Widget]()
    for annotation in _items(page.obj.get("/Annots"))[:_MAX_ANNOTATIONS]:
        try:
            widget = _widget(annotation, page)
        except (pikepdf.PdfError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
            continue  # damaged by its maker: the rest of the page is whole
        if widget is not None:
            found.append(widget)
        if len(found) >= at_most:
            break
    return found


def form_marks(found: list[Widget], around: Around, size: tuple[int, int]) -> list[PageMark]:
    """The fields as marks of a page of that size in pixels, each with the words beside it, or else its own name."""
    marks = list[PageMark]()
    boxes = [_on_page(widget.box, size) for widget in found]
    for widget, box in zip(found, boxes, strict=True):
        is_button = widget.kind == "checkbox"
        beside = around.right_of(box, but=boxes) if is_button else around.left_of(box, but=boxes) or around.under(box)
        label = beside or (around.left_of(box, but=boxes) if is_button else "") or widget.name
        marks.append(
            PageMark(
                kind=_meant(widget, label),
                checked=widget.state if is_button else None,
                filled=None if is_button else widget.state,
                label=label,
                source="form",
                **sides(box),
            )
        )
    return marks


def _meant(widget: Widget, label: str) -> Literal["checkbox", "signature", "initials", "field"]:
    """Text fields are used for initials, too; signature fields, for both."""
    if widget.kind == "checkbox":
        return widget.kind
    words = f"{label} {widget.name}".lower()
    return "initials" if "initial" in words else "signature" if "signature" in words else widget.kind


def _widget(annotation: Any, page: pikepdf.Page) -> Widget | None:
    if str(annotation.get("/Subtype")) != "/Widget" or int(annotation.get("/F", 0)) & _HIDDEN:
        return None
    field = list(_lineage(annotation))
    kind, flags = str(_inherited(field, "/FT")), int(_inherited(field, "/Ff") or 0)
    if kind not in _KINDS or (kind == "/Btn" and flags & _PUSHED):
        return None
    left, low, right, high = (float(value) for value in annotation["/Rect"])
    sheet = tuple(float(value) for value in page.cropbox)
    box = rendered(
        (min(left, right), min(low, high), max(left, right), max(low, high)),
        (min(sheet[0], sheet[2]), min(sheet[1], sheet[3]), max(sheet[0], sheet[2]), max(sheet[1], sheet[3])),
        int(page.obj.get("/Rotate", 0)) % 360,
    )
    if box[2] <= 0 or box[3] <= 0 or box[0] >= 1 or box[1] >= 1 or box[0] == box[2] or box[1] == box[3]:
        return None  # not on the page, or not to be seen
    name = clean_line(str(_inherited(field, "/TU") or _inherited(field, "/T") or ""), max_chars=MAX_LABEL_CHARS)
    return Widget(kind=_KINDS[kind], name=name, state=_state(annotation, field, kind), box=box)


def _state(annotation: Any, field: list[Any], kind: str) -> bool | None:
    value = _inherited(field, "/V")
    match kind:
        case "/Btn":
            shown = annotation.get("/AS", value)
            return None if shown is None else str(shown) not in {"/Off", "Off", ""}
        case "/Sig":
            return value is not None
    return value is not None and bool(str(value).strip())


def _lineage(annotation: Any) -> Iterator[Any]:
    """The widget and the fields it is a part of, from which it inherits what it doesn't say itself."""
    part = annotation
    for _ in range(_MAX_PARENTS):
        yield part
        part = part.get("/Parent")
        if part is None:
            return


def _inherited(field: list[Any], key: str) -> Any:
    return next((part[key] for part in field if key in part), None)


def _items(array: Any) -> list[Any]:
    import pikepdf

    return list(array) if isinstance(array, pikepdf.Array) else []


def _on_page(box: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    width, height = size
    left, top, right, bottom = (min(1.0, max(0.0, part)) for part in box)
    return round(left * width), round(top * height), round(right * width), round(bottom * height)
