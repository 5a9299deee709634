"""How much a PDF's pages draw, found without drawing: a few bytes can unpack, or refer, to hours of work.

Each stream of orders is unpacked once, up to a limit, and its orders counted. What it draws by name (forms, patterns,
masks, each again a stream of orders) is multiplied by how often it is named, so that nothing is ever expanded.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import pikepdf

from handlers.documents.pdf_decode import TooLong, decoded
from jobqueue.errors import LimitExceeded

MAX_PAGE_BYTES: Final = 32_000_000
MAX_PAGE_ORDERS: Final = 1_000_000
MAX_FILE_BYTES: Final = 400_000_000
"""Of all streams of orders together: a second's work to look at."""
_MAX_NESTING: Final = 40
_MAX_PARTS: Final = 20_000
_MAX_APPEARANCES: Final = 5_000
_MAX_VALUES: Final = 2_000

# An order is a word: a run of these that ends. The words of shown text count along; a page has few of them.
_LETTERS: Final = bytes(97 if byte in b"*'\"" or bytes((byte,)).isalpha() else 32 for byte in range(256))
_NAMED: Final = re.compile(rb"/([^\s\x00/<>\[\](){}%]{1,127}+)[\s\x00]++(Do|gs|scn|SCN)(?![^\s\x00/<>\[\](){}%])")
_STRING: Final = re.compile(rb"\((?:[^()\\]|\\.)*+\)|<[0-9A-Fa-f\s]++>", re.DOTALL)
_ESCAPE: Final = re.compile(rb"#([0-9A-Fa-f]{2})")
_FOLDERS: Final = {"Do": "/XObject", "gs": "/ExtGState", "scn": "/Pattern", "SCN": "/Pattern"}


@dataclass(frozen=True, slots=True)
class _Orders:
    """Of one stream: its length unpacked, its own orders, how often it names what, and how many bytes of text."""

    size_bytes: int
    count: int
    named: Counter[tuple[str, str]]
    shown: int


@dataclass(frozen=True, slots=True)
class _Scope:
    """What names stand for: the resources, and whose they are (a page's number, or a form)."""

    resources: Any
    owner: tuple[int, int]

    def folder(self, name: str) -> Any:
        found = self.resources.get(name) if isinstance(self.resources, pikepdf.Dictionary) else None
        return found if isinstance(found, pikepdf.Dictionary) else None


@dataclass(slots=True)
class _Walk:
    """Streams looked at, each once, and what forms cost with all that they draw."""

    streams: dict[tuple[int, int], _Orders] = field(default_factory=dict)
    costs: dict[tuple[tuple[int, int], tuple[int, int]], int] = field(default_factory=dict)  # by form and scope
    size_bytes: int = 0


def check_drawing(pdf: pikepdf.Pdf) -> None:
    """Look at what every page, with its forms and annotations, has a reader draw.

    Raises:
        LimitExceeded: a page unpacks to more than `MAX_PAGE_BYTES`, draws more than `MAX_PAGE_ORDERS` orders, or the
            file has more than `MAX_FILE_BYTES` of them.
    """
    walk = _Walk()
    for number, page in enumerate(pdf.pages, start=1):
        try:
            orders = _page_cost(page, number, walk)
        except (TooLong, RecursionError):
            raise _refusal(
                number, f"unpacks to more than the {MAX_PAGE_BYTES:,} bytes allowed, or is too deep"
            ) from None
        if orders > MAX_PAGE_ORDERS:
            raise _refusal(number, f"draws more than the {MAX_PAGE_ORDERS:,} things allowed")
        if walk.size_bytes > MAX_FILE_BYTES:
            raise LimitExceeded(f"it unpacks to more than the {MAX_FILE_BYTES:,} bytes allowed: upload it in parts")


def _refusal(number: int, why: str) -> LimitExceeded:
    return LimitExceeded(f"its page {number} {why}: print it to PDF as a picture, at 300 dpi, and upload that")


def _page_cost(page: pikepdf.Page, number: int, walk: _Walk) -> int:
    given = page.obj.get("/Contents")
    parts = given.as_list()[:_MAX_PARTS] if isinstance(given, pikepdf.Array) else [given]
    streams = [part for part in parts if isinstance(part, pikepdf.Stream)]
    scope = _Scope(_resources(page.obj), (-1, number))
    size_bytes = cost = 0
    for stream in streams:
        orders = _orders(stream, walk)
        size_bytes += orders.size_bytes
        if size_bytes > MAX_PAGE_BYTES:
            raise TooLong
        cost += orders.count + _named_cost(orders, scope, walk, 0)
        if cost > MAX_PAGE_ORDERS:
            return cost
    return cost + _annotations_cost(page.obj, walk)


def _resources(node: Any) -> Any:
    """A page's own, or those of the nearest node above that has some."""
    for _ in range(_MAX_NESTING):
        if not isinstance(node, pikepdf.Dictionary) or "/Resources" in node:
            break
        node = node.get("/Parent")
    return node.get("/Resources") if isinstance(node, pikepdf.Dictionary) else None


def _orders(stream: pikepdf.Stream, walk: _Walk) -> _Orders:
    key = stream.objgen
    if key not in walk.streams:
        data = decoded(stream, max_bytes=MAX_PAGE_BYTES)
        walk.size_bytes += len(data)
        count = data.translate(_LETTERS).count(b"a ") + 1
        # Beyond the limit it is refused whatever it names.
        named = Counter(map(_name, _NAMED.finditer(data))) if count <= MAX_PAGE_ORDERS else Counter()
        shown = sum(len(match[0]) for match in _STRING.finditer(data)) if b"Tf" in data else 0
        walk.streams[key] = _Orders(len(data), count, named, shown)
    return walk.streams[key]


def _name(match: re.Match[bytes]) -> tuple[str, str]:
    name = _ESCAPE.sub(lambda digits: bytes.fromhex(digits[1].decode()), match[1])
    return match[2].decode(), "/" + name.decode("utf-8", "surrogateescape")


def _named_cost(orders: _Orders, scope: _Scope, walk: _Walk, depth: int) -> int:
    cost = orders.shown * _glyph_cost(scope, walk, depth) if orders.shown else 0
    for (order, name), times in orders.named.items():
        if cost > MAX_PAGE_ORDERS:
            break
        target = _target(scope, order, name)
        if isinstance(target, pikepdf.Stream):
            cost += times * _form_cost(target, scope, walk, depth + 1)
    return cost


def _target(scope: _Scope, order: str, name: str) -> Any:
    """The stream of orders that a name stands for; a graphics state's is that of its mask."""
    folder = scope.folder(_FOLDERS[order])
    found = None if folder is None else folder.get(name)
    if order != "gs":
        return found
    mask = found.get("/SMask") if isinstance(found, pikepdf.Dictionary) else None
    return mask.get("/G") if isinstance(mask, pikepdf.Dictionary) else None


def _glyph_cost(scope: _Scope, walk: _Walk, depth: int) -> int:
    """The most that a letter costs where fonts draw theirs by orders (Type 3); no more than is looked for elsewhere."""
    cost = 0
    for font in _values(scope.folder("/Font")):
        glyphs = font.get("/CharProcs") if isinstance(font, pikepdf.Dictionary) else None
        own = _Scope(font["/Resources"], font.objgen) if glyphs is not None and "/Resources" in font else scope
        costs = (_form_cost(one, own, walk, depth + 1) for one in _values(glyphs) if isinstance(one, pikepdf.Stream))
        cost = max(cost, *costs, 0)
    return cost


def _form_cost(form: pikepdf.Stream, outer: _Scope, walk: _Walk, depth: int) -> int:
    """A form's orders with all that it draws; pictures are one. One that draws itself is not drawn by readers."""
    about = form.stream_dict
    scope = _Scope(about["/Resources"], form.objgen) if "/Resources" in about else outer
    key = (form.objgen, scope.owner)
    if key in walk.costs:
        return walk.costs[key]
    if depth > _MAX_NESTING:
        raise TooLong
    if about.get("/Subtype") == "/Image":
        return 1
    walk.costs[key] = 0  # while it is under way
    orders = _orders(form, walk)
    walk.costs[key] = orders.count + _named_cost(orders, scope, walk, depth)
    return walk.costs[key]


def _annotations_cost(page: Any, walk: _Walk) -> int:
    annotations = page.get("/Annots")
    cost = 0
    for one in annotations.as_list()[:_MAX_APPEARANCES] if isinstance(annotations, pikepdf.Array) else []:
        looks = one.get("/AP") if isinstance(one, pikepdf.Dictionary) else None
        normal = looks.get("/N") if isinstance(looks, pikepdf.Dictionary) else None
        states = [normal] if isinstance(normal, pikepdf.Stream) else _values(normal)
        cost += max(
            (_form_cost(form, _Scope(None, (0, 0)), walk, 1) for form in states if isinstance(form, pikepdf.Stream)),
            default=0,
        )
        if cost > MAX_PAGE_ORDERS:
            break
    return cost


def _values(folder: Any) -> list[Any]:
    return list(folder.as_dict().values())[:_MAX_VALUES] if isinstance(folder, pikepdf.Dictionary) else []
