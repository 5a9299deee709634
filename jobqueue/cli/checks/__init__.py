"""What ``jobqueue doctor`` looks at. A check looks and changes nothing; each says what it found and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from jobqueue.errors import JobqueueError
from jobqueue.settings import Settings

CHECK_S: Final = 5.0
"""How long one check may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. ``warning``: it works, but not as well as it could, or as safely.

    Attributes:
        check: what was looked at.
        found: how it is.
        advice: what to do about it; empty where nothing needs doing, or ``found`` says it.
    """

    check: str
    state: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


Check = Callable[[Settings], Awaitable[Sequence[Finding]]]


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, state="ok", found=found)


def warning(check: str, found: str, advice: str = "") -> Finding:
    """It will do."""
    return Finding(check=check, state="warning", found=found, advice=advice)


def failed(check: str, found: str, advice: str = "") -> Finding:
    """It won't do."""
    return Finding(check=check, state="failed", found=found, advice=advice)


async def examine(config: Settings, checks: dict[str, Check]) -> list[Finding]:
    """The findings of all checks, made at the same time, in the order of the checks.

    A check that fails with an error of ours, or isn't done within `CHECK_S`, is a failed one by its name.
    """
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(_made(name, check, config), name=f"check {name}") for name, check in checks.items()]
    return [finding for task in made for finding in task.result()]


async def _made(name: str, check: Check, config: Settings) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check(config)
    except TimeoutError:
        return [failed(name, f"no answer within {CHECK_S:g} s", "find out what it waits for, then look again")]
    except (JobqueueError, OSError) as exc:
        return [failed(name, str(exc) or type(exc).__name__)]
