"""The documents as the tests read them: their sections, and what in them can be run or looked up."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Final

from tests.acceptance.reader import ROOT

README: Final = ROOT / "README.md"
ARCHITECTURE: Final = ROOT / "jobqueue" / "ARCHITECTURE.md"
GUIDE: Final = ROOT / "jobqueue" / "GUIDE.md"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


def commands(text: str) -> list[str]:
    """The lines of all blocks of shell."""
    return [line for block in blocks(text, "sh") for line in block.splitlines() if line.strip()]


def sections(path: Path) -> dict[str, str]:
    """Heading of the second level -> the text below it; what comes before the first stands under ""."""
    title, *parts = re.split(r"^## (.+)\n", path.read_text("utf-8"), flags=re.MULTILINE)
    return {"": title, **dict(zip(parts[::2], parts[1::2], strict=True))}


def without_blocks(path: Path) -> str:
    """A document's text without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def code_spans(path: Path) -> list[str]:
    """What stands between backticks outside of fenced blocks, each span on one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", without_blocks(path))]
