"""``jobqueue doctor``: whether this machine is fit for the product, and what to do where it isn't."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import click

from jobqueue import queues, settings
from jobqueue.cli.checks import Check, Finding, examine, failed, ok
from jobqueue.cli.checks.broker import broker
from jobqueue.cli.checks.reading import descriptors, reading
from jobqueue.cli.checks.stores import database, disk, storage, virus_scan
from jobqueue.cli.common import Failed, emit, json_option, run
from jobqueue.cli.render import table
from jobqueue.errors import ConfigError
from jobqueue.telemetry import logs

CHECKS: Final[dict[str, Check]] = {
    "redis": broker,
    "database": database,
    "storage": storage,
    "disk": disk,
    "virus scan": virus_scan,
    "reading": reading,
    "open files": descriptors,
}
"""Name -> the check, which may find more than one thing."""
_STATES: Final = ("ok", "warning", "failed")


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check this machine, and say what to do where something is wrong.

    Looked at are the settings, Redis, its clock and its workers, the database, storage, disks, the virus scanner, the
    engines that read, the fonts, and the sandbox. Nothing is changed but for a probe that is stored and deleted, and
    each check takes 5 s at most. Fails when one of them does; warnings are no failure.
    """
    logs.configure("CRITICAL")  # what is found stands among the findings
    findings = _findings()
    counts = Counter(finding.state for finding in findings)
    if as_json:
        emit({"checks": [asdict(finding) for finding in findings], **{state: counts[state] for state in _STATES}})
    else:
        rows = [(finding.state, finding.check, finding.found, finding.advice) for finding in findings]
        table(("State", "Check", "Found", "What to do"), rows)
    if counts["failed"]:
        raise Failed(f"{counts['failed']} of {len(findings)} checks failed, with {counts['warning']} warnings")


def _findings() -> Sequence[Finding]:
    try:
        config = settings.load()
        queues.load(config.queues_file)
        queues.load_schedules(config.queues_file)
    except ConfigError as exc:
        return [failed("settings", str(exc), "mend them, then look again: nothing else can be checked")]
    return [ok("settings", f"data in {config.data_dir}"), *run(examine(config, CHECKS))]
