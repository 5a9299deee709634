"""Every provider of `ports.ContractModel` passes this suite: facts, verbatim quotes, bounds, usage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from jobqueue.errors import ConfigError
from jobqueue.ports import ContractModel
from jobqueue.services.models import contract_model
from jobqueue.services.sandbox import ProcessSandbox
from jobqueue.tasks import DocumentText, Quote, Usage
from tests.unit.contract_samples import DOUBTFUL, LEASE, PURCHASE, document

SAMPLES = {"purchase": document(*PURCHASE), "lease": document(*LEASE), "doubtful": document(*DOUBTFUL)}


@pytest.fixture(params=["offline"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[ContractModel]:
    async with ProcessSandbox(processes=1) as sandbox:
        provider = contract_model(request.param, sandbox=sandbox)
        yield provider
        await provider.close()


def assert_verbatim(quotes: list[Quote | None], text: DocumentText) -> None:
    present = [quote for quote in quotes if quote is not None]
    assert present
    for quote in present:
        assert text.pages[quote.page - 1].text[quote.start : quote.end] == quote.text


def assert_accounted(usage: Usage, model: ContractModel) -> None:
    assert f"{usage.provider}/{usage.model}" == model.name
    assert usage.seconds > 0
    assert min(usage.input_tokens, usage.output_tokens) >= 0


@pytest.mark.parametrize("name", SAMPLES)
async def test_facts_are_normalised_and_quoted(model: ContractModel, name: str) -> None:
    found, usage = await model.extract(SAMPLES[name])

    assert_accounted(usage, model)
    assert_verbatim([fact.quote for fact in found.facts], SAMPLES[name])
    assert all(0 <= fact.confidence <= 1 and "\n" not in fact.value for fact in found.facts)


async def test_the_core_facts_of_a_plain_agreement_are_found(model: ContractModel) -> None:
    found, _ = await model.extract(SAMPLES["purchase"])

    assert found.document_class == "purchase_agreement"
    values = {
        kind: fact.value for kind in ("purchase_price", "agreement_date", "closing_date") if (fact := found.first(kind))
    }
    assert values == {"purchase_price": "425000.00 USD", "agreement_date": "2025-03-03", "closing_date": "2025-04-30"}


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_summary_keeps_to_its_length_and_quotes_its_points(model: ContractModel, name: str) -> None:
    summary, usage = await model.summarise(SAMPLES[name])

    assert_accounted(usage, model)
    assert 0 < len(summary.text) <= 2_500
    assert_verbatim([point.quote for point in summary.key_points], SAMPLES[name])


async def test_an_analysis_tells_present_clauses_from_missing_ones(model: ContractModel) -> None:
    analysis, usage = await model.analyse(SAMPLES["doubtful"])

    assert_accounted(usage, model)
    assert {clause.present for clause in analysis.clauses} == {True, False}
    assert all((clause.quote is not None) == clause.present for clause in analysis.clauses)
    assert_verbatim([finding.quote for finding in analysis.findings], SAMPLES["doubtful"])


async def test_an_empty_document_is_answered_too(model: ContractModel) -> None:
    empty = document("")

    assert (await model.extract(empty))[0].facts == []
    assert (await model.summarise(empty))[0].text
    assert (await model.analyse(empty))[0].findings == []


async def test_an_unknown_provider_is_refused_with_those_there_are() -> None:
    async with ProcessSandbox(processes=1) as sandbox:
        with pytest.raises(ConfigError, match="use 'offline'"):
            contract_model("crystal-ball", sandbox=sandbox)
