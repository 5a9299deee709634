"""The colours of a report, the same on paper and in the word processor."""

from __future__ import annotations

from typing import Final

from jobqueue.tasks import Severity

INK: Final = "#1b2430"
MUTED: Final = "#5d6878"
ACCENT: Final = "#1f4e79"
ALERT: Final = "#b3261e"
RULE: Final = "#d5dbe3"
SHADE: Final = "#f3f6f9"

TONES: Final = {
    Severity.HIGH: ALERT,
    Severity.MEDIUM: "#9a5b00",
    Severity.LOW: "#2f6f9f",
    Severity.INFO: MUTED,
}
