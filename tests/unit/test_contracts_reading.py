"""Summaries, checklists and findings, and what holds for any text: verbatim quotes, bounded time, no crash."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.contracts import pages
from handlers.contracts.reader import analyse, extract, summarise
from jobqueue.errors import LimitExceeded
from jobqueue.tasks import Analysis, DocumentText, Extraction, Finding, Model, Quote, Severity, Summary
from tests.unit.contract_samples import DOUBTFUL, LEASE, PURCHASE, document, plain

MODELS: dict[str, type[Model]] = {"extract": Extraction, "summarise": Summary, "analyse": Analysis}
SAMPLES = {"purchase": PURCHASE, "lease": LEASE, "doubtful": DOUBTFUL}


def findings(*texts: str) -> dict[str, Finding]:
    """Findings by code."""
    return {finding.code: finding for finding in Analysis.model_validate(analyse(plain(*texts))).findings}


def quotes(answer: Any) -> Iterator[Quote]:
    """Every quote anywhere in an answer."""
    if isinstance(answer, dict):
        if answer.keys() == Quote.model_fields.keys():
            yield Quote.model_validate(answer)
        else:
            for value in answer.values():
                yield from quotes(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from quotes(value)


def check_all(text: DocumentText) -> int:
    """Run all three readings; every answer fits its model and every quote is verbatim. How many quotes there were."""
    count = 0
    for function in (extract, summarise, analyse):
        answer = function(text.model_dump(mode="json"))
        MODELS[function.__name__].model_validate(answer)
        for quote in quotes(answer):
            assert text.pages[quote.page - 1].text[quote.start : quote.end] == quote.text
            count += 1
    return count


# ── quotes ───────────────────────────────────────────────────────────────────────────────────────────────────────

_words = st.sampled_from([
    "Seller", '"Buyer"', '(the "Landlord")', "Tenant", "between", "and", "LLC,", "$4,000.00", "May 2, 2024",
    "\u201cTerm\u201d", "pur-\nchase", "price", "\u0130", "\u00ad", "\u200b", "closing date", "rent", "(", ")",
    "12 Elm Street, Ames, IA", "governed by the laws of Ohio", "term of five (5) years", "per month", "______", "\n",
])  # fmt: skip
_texts = st.one_of(st.text(max_size=300), st.lists(_words, max_size=120).map(" ".join), _words.map("\n".join))


@settings(max_examples=150, deadline=None)
@given(st.lists(_texts, max_size=4))
def test_any_text_gives_valid_answers_with_verbatim_quotes(texts: list[str]) -> None:
    check_all(document(*texts))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.integers(0, 5_000), max_size=5))
def test_quotes_stay_verbatim_wherever_a_contract_is_cut_into_pages(name: str, cuts: list[int]) -> None:
    text = "\n".join(SAMPLES[name])
    edges = [0, *sorted(cuts), len(text)]

    assert check_all(document(*(text[a:b] for a, b in pairwise(edges)))) > 0


def test_a_word_hyphenated_at_a_line_end_is_matched_and_quoted_as_it_stands() -> None:
    text = document("LEASE between A Corp. (Landlord) and B Corp. (Tenant). The secu-\nrity   deposit is $900.")
    answer = Analysis.model_validate(analyse(text.model_dump(mode="json")))
    clause = next(clause for clause in answer.clauses if clause.name == "security_deposit")

    assert clause.quote is not None
    assert "secu-\nrity   deposit" in clause.quote.text


def test_no_pages_and_empty_pages_are_a_document_of_no_kind() -> None:
    for texts in ((), ("",), ("", " \n", "")):
        assert extract(plain(*texts)) == {"document_class": "other", "class_confidence": 1.0, "facts": []}
        check_all(document(*texts))


# ── summary ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SAMPLES)
def test_every_number_and_name_of_a_summary_stands_in_the_document(name: str) -> None:
    source = " ".join(" ".join(SAMPLES[name]).split())
    summary = Summary.model_validate(summarise(plain(*SAMPLES[name])))

    assert len(summary.text) <= 2_500
    numbers = re.findall(r"\$?\d[\d,.]*\d|\d", summary.text)
    assert numbers
    assert [number for number in numbers if number not in source] == []
    names = re.findall(r"(?<![.] )(?<!^)\b[A-Z][\w.]*", summary.text)
    assert [word for word in names if word.rstrip(".") not in source] == []
    assert all(point.quote is not None for point in summary.key_points)


def test_a_summary_of_endless_names_stays_within_its_limit() -> None:
    names = " and ".join(f"Bartholomew {letter * 60}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    text = f"LEASE between {names} (Landlord) and {names} (Tenant) for the premises, rent due monthly."

    assert len(summarise(plain(text))["text"]) <= 2_500


# ── analysis ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_agreement_has_its_clauses_and_no_serious_findings() -> None:
    answer = Analysis.model_validate(analyse(plain(*PURCHASE)))

    present = {clause.name for clause in answer.clauses if clause.present}
    assert present >= {
        "financing_contingency",
        "inspection_contingency",
        "appraisal_contingency",
        "title",
        "lead_paint",
        "hoa",
    }
    assert [finding.code for finding in answer.findings] == ["liquidated_damages"]


def test_a_doubtful_agreement_is_found_out() -> None:
    found = findings(*DOUBTFUL)

    assert found.keys() >= {
        "closing_before_agreement", "financing_after_closing", "earnest_above_price", "amount_mismatch",
        "waiver_of_contingency", "non_refundable", "as_is", "blank", "no_signatures", "missing_title",
    }  # fmt: skip
    assert "Three Hundred Thousand" in found["amount_mismatch"].detail
    assert found["closing_before_agreement"].severity is Severity.HIGH


def test_findings_come_worst_first() -> None:
    order = [Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO]
    ranks = [order.index(finding.severity) for finding in Analysis.model_validate(analyse(plain(*DOUBTFUL))).findings]

    assert len(set(ranks)) > 1
    assert ranks == sorted(ranks)


def test_a_lease_that_renews_by_itself_says_so_with_the_sentence() -> None:
    quote = findings(*LEASE)["automatic_renewal"].quote

    assert quote is not None
    assert quote.text.startswith("The term shall automatically renew")


def test_a_lease_that_ends_before_it_begins_is_a_serious_finding() -> None:
    swapped = tuple(page.replace("June 30, 2028", "June 30, 2022") for page in LEASE)

    assert findings(*swapped)["term_ends_before_it_begins"].severity is Severity.HIGH
    assert "term_ends_before_it_begins" not in findings(*LEASE)


def test_earnest_money_above_a_tenth_of_the_price_is_noted() -> None:
    dear = tuple(page.replace("$8,500.00", "$60,000.00") for page in PURCHASE)

    assert findings(*dear)["earnest_high"].severity is Severity.MEDIUM
    assert not {"earnest_high", "earnest_above_price"} & findings(*PURCHASE).keys()


def test_the_lines_of_a_signature_block_are_no_open_blanks() -> None:
    assert "blank" not in findings(*PURCHASE)


def test_as_is_in_ordinary_speech_is_no_risk() -> None:
    assert "as_is" not in findings(*PURCHASE)  # "prorated as is usual"
    assert "as_is" in findings(*LEASE)


def test_an_invoice_lacks_no_contract_clauses() -> None:
    text = "INVOICE No. 7. Invoice date May 2, 2024. Bill to Ann Lee. Subtotal $5. Amount due $5. Invoice total $5."

    assert findings(text) == {}


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────

_HOSTILE = ["a ", "(", "7", "and ", "A", "Ab ", "_", "\n", "a-\n", '"', "$1,000 ", "seven ", "1 Aa ", "purchase price "]


@pytest.mark.parametrize("seed", _HOSTILE)
def test_time_grows_with_the_text_and_no_faster(seed: str) -> None:
    def seconds(size: int) -> float:
        text = plain("This lease of a landlord to a tenant, rent. " + seed * (size // len(seed)))
        started = time.process_time()
        analyse(text)
        return time.process_time() - started

    small, large = seconds(60_000), seconds(480_000)

    assert large < 8 * 3 * small + 1.0  # eight times the text; a quadratic rule would take 64 times as long


def test_a_contract_of_150_000_characters_is_read_within_half_a_second() -> None:
    body = "".join(PURCHASE)
    text = plain(*([body] * (150_000 // len(body) + 1)))
    times = []
    for _ in range(5):
        started = time.process_time()
        analyse(text)
        times.append(time.process_time() - started)

    assert sorted(times)[2] < 0.5


def test_a_text_beyond_the_limit_is_refused_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_CHARACTERS", 1_000)

    with pytest.raises(LimitExceeded, match="at most 1,000"):
        extract(plain("x" * 1_001))
