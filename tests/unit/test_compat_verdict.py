"""What `bin/test --compat` makes of the outcomes of arq's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.verdict import Line, Reason, Verdict, counts, judge, read_reasons, render

REASON = Reason(because="A waiting job never expires by itself.", shows="assert -1 ==", tests=["test_a"])


def outcome(verdict: str, detail: str = "") -> dict[str, dict[str, str]]:
    return {"test_a": {"outcome": verdict, "detail": detail}}


@pytest.mark.parametrize(
    ("outcomes", "reasons", "verdict", "in_order"),
    [
        (outcome("passed"), {}, Verdict.PASSED, True),
        (outcome("skipped", "not on Windows"), {}, Verdict.SKIPPED, True),
        (outcome("failed", "E  assert -1 == 5"), {}, Verdict.FAILED, False),
        (outcome("failed", "E  assert -1 == 5"), {"test_a": REASON}, Verdict.EXCUSED, True),
        (outcome("failed", "E  timed out"), {"test_a": REASON}, Verdict.FAILED, False),
        (outcome("passed"), {"test_a": REASON}, Verdict.NEEDLESS, False),
        (outcome("skipped"), {"test_a": REASON}, Verdict.NEEDLESS, False),
        ({}, {"test_a": REASON}, Verdict.STALE, False),
    ],
)
def test_a_reason_excuses_its_own_failure_and_nothing_else(
    outcomes: dict[str, dict[str, str]], reasons: dict[str, Reason], verdict: Verdict, in_order: bool
) -> None:
    [line] = judge("pool", outcomes, reasons)
    assert (line.verdict, line.verdict.in_order) == (verdict, in_order)


def test_the_table_names_every_test_and_ends_with_what_is_wrong() -> None:
    lines = [
        Line(run="pool", test="test_bad", verdict=Verdict.FAILED, detail="E  boom"),
        Line(run="pool", test="test_excused", verdict=Verdict.EXCUSED, detail=REASON.because),
        Line(run="pool", test="test_good", verdict=Verdict.PASSED),
    ]
    table = render(lines).splitlines()
    assert [row.split()[2] for row in table[:3]] == ["test_excused", "test_good", "test_bad"]
    assert table[0].endswith(REASON.because)
    assert table[-1] == "E  boom"
    assert counts(lines) == {"passed": 1, "excused": 1, "failed": 1}


@pytest.mark.parametrize(
    "text",
    [
        '[[pond]]\nbecause = "It is so by design, and stays so."\nshows = "x"\ntests = ["a"]',
        '[[pool]]\nbecause = "flaky"\nshows = "x"\ntests = ["a"]',
        '[[pool]]\nbecause = "It is so by design, and stays so."\ntests = ["a"]',
        '[[pool]]\nbecause = "It is so by design, and stays so."\nshows = ""\ntests = ["a"]',
        '[[pool]]\nbecause = "It is so by design, and stays so."\nshows = "x"\ntests = ["a", "a"]',
    ],
    ids=["an unknown run", "no sentence", "any failure", "an empty failure", "one test twice"],
)
def test_a_reason_that_says_too_little_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reasons.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"pond|because|shows|more than one"):
        read_reasons(path)
