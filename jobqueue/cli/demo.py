"""``jobqueue demo``: a document all the way, from scan to report, on this machine."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import click

from handlers.documents.sample import render_sample
from jobqueue import settings
from jobqueue.cli.api import Api, check, open_api
from jobqueue.cli.common import FAILED, Failed, complain, emit, json_option, run
from jobqueue.cli.follow import Outcome, complaints, send_all
from jobqueue.cli.local import everything
from jobqueue.cli.local_files import log_dir
from jobqueue.cli.render import board, say, show_facts, shown_path, tell
from jobqueue.cli.serve import announce
from jobqueue.errors import RejectedFile

_PORTS_TRIED: Final = 100
_WORKER_TRIES: Final = 3
_STEM_CHARS: Final = 50  # a file name holds 255 bytes, and a character may take four


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Stop everything when the files are done, instead of staying up.")
@json_option
def demo(files: tuple[Path, ...], once: bool, as_json: bool) -> None:
    """Process a sample document, or your own, from scan to report.

    Starts all of the product on this machine, reachable from this machine alone. The reports land in the data
    directory. With --once it exits with 0 only if every stage of every file succeeded.
    """
    config = settings.load(host="127.0.0.1")
    if not run(_demo(config, files, once=once, as_json=as_json)):
        sys.exit(FAILED)


async def _demo(config: settings.Settings, files: tuple[Path, ...], *, once: bool, as_json: bool) -> bool:
    """Whether all went well; without ``once`` it returns only when it did not."""
    for path in files:
        try:
            check(path)
        except RejectedFile as exc:
            raise Failed(f"{path.name}: {exc}") from exc
    began = time.monotonic()
    ports = range(config.port, min(config.port + _PORTS_TRIED, 65_536))
    async with everything(config, say, ports=ports, tries=_WORKER_TRIES) as served:
        async with open_api(served.url, served.api_key) as api:
            paths = files or (await asyncio.to_thread(_sample, config.data_dir),)
            with board() as shown:
                outcomes = await send_all(api, paths, shown)
            reports_dir = config.data_dir / "reports"
            reports_dir.mkdir(mode=0o700, exist_ok=True)
            reports = await _fetch_reports(api, outcomes, reports_dir)
        failures = complaints(outcomes)
        if as_json:
            emit(
                {
                    "ok": not failures,
                    "seconds": round(time.monotonic() - began, 3),
                    "files": [o.summary() | {"reports": r} for o, r in zip(outcomes, reports, strict=True)],
                    "data_dir": config.data_dir,
                    "logs": log_dir(config),
                    "login_url": None if once else served.login_url,
                }
            )
        else:
            _show(outcomes, reports)
        if failures:
            for failure in failures:
                complain(f"{failure} (logs: {shown_path(log_dir(config))})")
            return False
        if not once:
            if not as_json:
                announce(served, config)
                say("stop with Ctrl-C")
            await asyncio.Event().wait()
    return True


def _sample(data_dir: Path) -> Path:
    path = data_dir / "sample-agreement.pdf"
    if not path.exists():
        draft = path.with_suffix(".part")
        render_sample(str(draft))
        draft.replace(path)
    return path


async def _fetch_reports(api: Api, outcomes: list[Outcome], directory: Path) -> list[dict[str, Path]]:
    """Copy every report to ``<directory>/<file stem>-report.<format>``, numbered where stems are the same."""
    taken: Counter[str] = Counter()
    copied: list[dict[str, Path]] = []
    for outcome in outcomes:
        links = outcome.contract.reports if outcome.contract else {}
        stem = outcome.path.stem[:_STEM_CHARS]
        taken[stem] += 1
        name = f"{stem}-report" if taken[stem] == 1 else f"{stem}-report-{taken[stem]}"
        targets = {fmt: directory / f"{name}.{fmt}" for fmt in links}
        for fmt, target in targets.items():
            await api.download(links[fmt], target)
        copied.append(targets)
    return copied


def _show(outcomes: list[Outcome], reports: list[dict[str, Path]]) -> None:
    for outcome, copied in zip(outcomes, reports, strict=True):
        if outcome.extraction:
            show_facts(outcome.path.name, outcome.extraction)
        for path in copied.values():
            tell(f"report: {shown_path(path)}")
