"""The figures for people: one table, rows by round trip, a column a contender."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.bench.rivals.run import ROUND_TRIPS_MS, Results

_LABEL: Final = 36
_WIDTH: Final = 10


def _whole(figure: float) -> str:
    return f"{figure:,.0f}"


def _fine(figure: float) -> str:
    return f"{figure:.2f}" if figure < 10 else f"{figure:,.1f}"


SPEED: Final[tuple[tuple[str, str, Callable[[float], str]], ...]] = (
    ("no-op jobs/s, 1 worker", "jobs_per_s", _whole),
    ("no-op jobs/s, 4 workers", "four_workers_jobs_per_s", _whole),
    ("single enqueues/s", "single_per_s", _whole),
    ("bulk enqueues/s", "bulk_per_s", _whole),
    ("idle pickup p50, ms", "pickup_p50_ms", _fine),
    ("idle pickup p99, ms", "pickup_p99_ms", _fine),
    ("requests/job, busy worker", "requests_per_job", _fine),
    ("  with commands in scripts", "commands_per_job", _fine),
    ("requests/job, lone job *", "lone_requests_per_job", _fine),
    ("requests/s, idle worker", "idle_requests_per_s", _fine),
    ("memory of an idle worker, MiB", "idle_rss_mb", _whole),
)
RECOVERY: Final[tuple[tuple[str, str, Callable[[float], str]], ...]] = (
    ("kill -9 to restart of the job, s", "kill_s", _fine),
    ("  tuned to a lease of 10 s", "kill_tuned_s", _fine),
    ("stalled worker's late finish", "stall", _fine),
    ("Redis killed: back at work after, s", "back_s", _fine),
    ("  jobs of 200 not done", "not_done", _whole),
    ("  jobs of 200 done twice", "done_twice", _whole),
)
WORDS: Final = {"accepted twice": "twice", "refused": "refused", "cancelled": "cancelled"}


def table(results: Results) -> str:
    """The whole report."""
    names = list(results.contenders)
    lines = [_row("", [*names]), _row("version", [results.contenders[name]["version"] for name in names])]
    for rtt_ms in ROUND_TRIPS_MS:
        lines += _block(f"{rtt_ms} ms of added round trip", str(rtt_ms), SPEED, results)
    lines += _block("recovery", "recovery", RECOVERY, results)
    return "\n".join([*lines, "", *_notes(results)])


def _block(
    title: str, group: str, rows: tuple[tuple[str, str, Callable[[float], str]], ...], results: Results
) -> list[str]:
    groups = [figures.get(group, {}) for figures in results.contenders.values()]
    lines = [
        _row(label, [_cell(figures.get(name), show) for figures in groups])
        for label, name, show in rows
        if any(name in figures for figures in groups)
    ]
    return ["", title, *lines] if lines else []


def _cell(figure: Any, show: Callable[[float], str]) -> str:
    if figure is None:
        return "-"
    if isinstance(figure, str):
        return "not redone" if figure.startswith("not redone") else WORDS.get(figure, figure)
    return show(figure)


def _row(label: str, cells: list[str]) -> str:
    return f"{label:<{_LABEL}}" + "".join(f"{cell:>{_WIDTH + 1}}" for cell in cells)


def _notes(results: Results) -> list[str]:
    notes = ["* its enqueue, and what the idle worker asked meanwhile, included"]
    if results.proxy:
        pings = ", ".join(
            f"{results.proxy[f'ping_{ms}_ms']:.2f} ms behind the proxy at {ms} ms" for ms in ROUND_TRIPS_MS
        )
        notes.append(f"PING: {results.proxy['ping_direct_ms']:.2f} ms directly, {pings}")
    for kind in ("deferred", "waiting"):
        found = {name.partition("_")[2]: rate for name, rate in results.scaling.items() if name.startswith(kind)}
        if found:
            rates = ", ".join(f"{rate:,.0f} with {int(behind):,}" for behind, rate in found.items())
            spread = 100 * (min(found.values()) / found["0"] - 1)
            notes.append(f"ours, jobs/s with {kind} jobs behind: {rates} (the least {spread:+.0f} % of that with none)")
    notes += [f"{name}: {figures['setting']}" for name, figures in results.contenders.items()]
    notes += [f"missing: {entry['contender']}, {entry['part']}: {entry['reason']}" for entry in results.failed]
    machine = ", ".join(f"{key} {value}" for key, value in results.machine.items() if key != "versions")
    return [*notes, machine]
