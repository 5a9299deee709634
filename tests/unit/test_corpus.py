"""The corpus run's own parts: the journal, what counts as a surprise, and names that are no text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus import report
from tests.corpus.catalogue import CATALOGUE, SMOKE
from tests.corpus.census import Census
from tests.corpus.outcomes import HUNG, NO_STATE, Journal, Outcome, key_of
from tests.corpus.runner import files_in
from tests.corpus.specimens import MANIFEST, Expected, Specimen, build, expectations, undecodable

REJECTED = Outcome(path="a/deed.pdf", key="k", state="rejected", seconds=0.1, size_bytes=3, reason="deed.pdf is empty")
NO_TEXT = undecodable(b"latin \xe9.txt")


def test_an_outcome_as_expected_is_no_surprise_and_another_one_is() -> None:
    assert REJECTED.surprise is None
    assert replace(REJECTED, expected=Expected(states=("done", "rejected"), reason="empty")).surprise is None
    assert "rejected, not done" in str(replace(REJECTED, expected=Expected(states=("done",))).surprise)
    assert "nothing of 'password'" in str(
        replace(REJECTED, expected=Expected(states=("rejected",), reason="password")).surprise
    )


def test_what_only_a_scanner_can_find_is_expected_only_of_one_who_looked() -> None:
    infected = Expected(states=("quarantined",), needs_clamd=True)
    assert replace(REJECTED, expected=infected, engine="built-in").surprise is None
    assert replace(REJECTED, expected=infected, engine="ClamAV 1.4.6").surprise is not None


@pytest.mark.parametrize("state", [HUNG, NO_STATE])
def test_a_file_without_an_end_is_not_well_whatever_was_expected(state: str) -> None:
    assert report.is_well([REJECTED], Census())
    assert not report.is_well([REJECTED, replace(REJECTED, state=state)], Census())


def test_a_worker_that_ended_by_itself_is_not_well() -> None:
    census = Census()
    census.note("stopping; running jobs have 20 s to finish")
    assert report.is_well([REJECTED], census)
    census.note("worker ocr ended with exit code 137, starting it again in 1 s; its log: x")
    assert not report.is_well([REJECTED], census)


def test_a_journal_gives_back_what_it_was_told_and_forgets_a_line_cut_off_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "new" / "corpus.jsonl"
    odd = replace(REJECTED, path=f"a/{NO_TEXT}", key="odd", expected=Expected(states=("done", "failed")))
    journal = Journal.open(path)
    journal.add(REJECTED)
    journal.add(odd)
    with path.open("a") as file:
        file.write('{"path": "cut o')
    assert Journal.open(path).known == {"k": REJECTED, "odd": odd}
    assert Journal.open(path, anew=True).known == {}
    assert not path.exists()


def test_a_file_is_known_by_its_bytes_and_its_name_but_not_by_its_folder(tmp_path: Path) -> None:
    keys = []
    for name, content in (("a/x.pdf", b"1"), ("b/x.pdf", b"1"), ("a/y.pdf", b"1"), ("c/x.pdf", b"2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        keys.append(key_of(tmp_path / name))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_folder_s_files_are_found_in_order_without_links_and_without_the_manifest(tmp_path: Path) -> None:
    specimens = [
        Specimen(name=name, make=lambda: b"x", states=("done",), reason="r", needs_clamd=True)
        for name in ("b", NO_TEXT)
    ]
    build(tmp_path, specimens)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").touch()
    (tmp_path / "link").symlink_to("b")
    (tmp_path / "loop").symlink_to(".")
    assert (tmp_path / MANIFEST).exists()
    assert list(files_in(tmp_path)) == [tmp_path / "b", tmp_path / NO_TEXT, tmp_path / "below" / "a"]
    wanted = Expected(states=("done",), reason="r", needs_clamd=True)
    assert expectations(tmp_path) == {tmp_path / "b": wanted, tmp_path / NO_TEXT: wanted}
    assert expectations(tmp_path / "below") == {}


def test_tables_show_no_name_that_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "red \x1b[31m\u202e.txt"
    outcome = replace(
        REJECTED, path=f"a/{evil}", state=HUNG, reason=f"{evil} hangs", expected=Expected(states=("done",))
    )
    report.show([outcome], Census(lost=[f"\x1b]0;{evil}"]), seconds=1.0)
    shown = capsys.readouterr().out
    assert "NOT WELL" in shown
    assert not {"\x1b", "\u202e"} & set(shown)


def test_specimens_have_names_of_their_own_and_the_smoke_run_has_all_that_it_names() -> None:
    assert len({specimen.name for specimen in CATALOGUE}) == len(CATALOGUE)
    assert len(SMOKE) == 5
