"""The figures as bars: one panel a question, the contenders from best to worst, ours marked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

from tests.bench.rivals.roster import OURS
from tests.bench.rivals.run import Results

SCALE: Final = 2
PANEL: Final = (480, 320)
COLUMNS: Final = 3
INK, FAINT, GROUND, MARK, BAR = "#1f2933", "#7b8794", "#ffffff", "#0b6e4f", "#c3cfd9"


@dataclass(frozen=True, slots=True)
class Panel:
    """One question, and where its figures stand."""

    title: str
    group: str
    name: str
    unit: str
    more_is_better: bool


PANELS: Final = (
    Panel("No-op jobs/s, 1 worker", "0", "jobs_per_s", "", True),
    Panel("No-op jobs/s, 4 workers", "0", "four_workers_jobs_per_s", "", True),
    Panel("No-op jobs/s, 1 worker, 2 ms away", "2", "jobs_per_s", "", True),
    Panel("Idle pickup, median", "0", "pickup_p50_ms", " ms", False),
    Panel("kill -9 to the job's restart, defaults", "recovery", "kill_s", " s", False),
    Panel("Requests to Redis a job, busy worker", "0", "requests_per_job", "", False),
)


def draw(results: Results, path: Path) -> None:
    """Write the PNG."""
    rows = -(-len(PANELS) // COLUMNS)
    width, height = PANEL[0] * COLUMNS * SCALE, (PANEL[1] * rows + 40) * SCALE
    image = Image.new("RGB", (width, height), GROUND)
    pen = ImageDraw.Draw(image)
    for index, panel in enumerate(PANELS):
        left, top = (index % COLUMNS) * PANEL[0] * SCALE, (index // COLUMNS) * PANEL[1] * SCALE
        _panel(pen, panel, results, left + 20 * SCALE, top + 20 * SCALE)
    machine = results.machine
    foot = f"{machine['cpus']} cores, Python {machine['python']}, {machine['server']}, {machine['at'][:10]}"
    pen.text((20 * SCALE, height - 30 * SCALE), foot, FAINT, _font(12))
    image.save(path, optimize=True)


def _font(size: int) -> Any:
    return ImageFont.load_default(size * SCALE)


def _panel(pen: ImageDraw.ImageDraw, panel: Panel, results: Results, left: int, top: int) -> None:
    pen.text((left, top), panel.title, INK, _font(15))
    better = "more is better" if panel.more_is_better else "less is better"
    pen.text((left, top + 20 * SCALE), better, FAINT, _font(11))
    found = {
        name: figures.get(panel.group, {}).get(panel.name)
        for name, figures in results.contenders.items()
        if figures.get(panel.group, {}).get(panel.name) is not None
    }
    ordered = sorted(found, key=lambda name: _length(found[name]), reverse=panel.more_is_better)
    longest = max(map(_length, found.values()), default=1.0) or 1.0
    room = (PANEL[0] - 40 - 70 - 70) * SCALE
    for index, name in enumerate(ordered):
        y = top + (42 + 24 * index) * SCALE
        ours = name == OURS
        pen.text((left, y), name, MARK if ours else INK, _font(13))
        bar = left + 70 * SCALE
        end = bar + max(SCALE, int(room * _length(found[name]) / longest))
        pen.rectangle((bar, y + SCALE, end, y + 15 * SCALE), MARK if ours else BAR)
        pen.text((end + 6 * SCALE, y), _label(found[name]) + panel.unit, MARK if ours else INK, _font(13))


def _length(figure: float | str) -> float:
    """How long its bar is; a figure beyond the cap reads ``> 120``."""
    return float(figure.removeprefix("> ")) if isinstance(figure, str) else figure


def _label(figure: float | str) -> str:
    if isinstance(figure, str):
        return figure
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"
