"""The corpus that is made by code: odd and hostile files, each with what must become of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

MANIFEST: Final = "corpus.json"
DONE: Final = ("done",)
REFUSED: Final = ("rejected",)
UNREAD: Final = ("failed",)
"""Accepted, and then nothing was found to read: said, and no success."""
ENDS: Final = ("done", "rejected", "failed")
"""What matters is that it ends at all, within the limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """One file of the corpus.

    Attributes:
        name: may hold what a terminal must not be shown; bytes that are no UTF-8 are surrogates, as in `os.fsdecode`.
        make: its bytes.
        states: those it may end in, as `tests.corpus.outcomes.Outcome.state`.
        reason: a part of the reason given, where one is promised.
        needs_clamd: the expectation holds only where a scanner knows the test virus.
    """

    name: str
    make: Callable[[], bytes]
    states: tuple[str, ...]
    reason: str = ""
    needs_clamd: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the manifest says of a file."""

    states: tuple[str, ...]
    reason: str = ""
    needs_clamd: bool = False


def build(directory: Path, specimens: Collection[Specimen]) -> None:
    """Write the files and the manifest that says what is expected of them; what is there already is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {}
    for specimen in specimens:
        (directory / specimen.name).write_bytes(specimen.make())
        expected = Expected(states=specimen.states, reason=specimen.reason, needs_clamd=specimen.needs_clamd)
        manifest[specimen.name] = asdict(expected)
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1))  # ASCII: it may name what is no text


def expectations(directory: Path) -> dict[Path, Expected]:
    """What the manifest in a directory says; nothing where there is none."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
    except FileNotFoundError:
        return {}
    return {
        directory / name: Expected(
            states=tuple(entry["states"]), reason=entry["reason"], needs_clamd=entry["needs_clamd"]
        )
        for name, entry in manifest.items()
    }


def undecodable(name: bytes) -> str:
    """A file name that is no UTF-8, as Python has it."""
    return os.fsdecode(name)
