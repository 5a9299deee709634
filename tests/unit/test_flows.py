"""Flows as pure data: what may start, how it ends, and what is no flow at all."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.errors import InvalidInput
from jobqueue.flows import Flow, FlowState, Step, StepState, outcome, ready


def flow(*steps: Step) -> Flow:
    return Flow(id="task-1", kind="demo", tenant_id="acme", created_at=datetime(2024, 5, 1, tzinfo=UTC), steps=steps)


def step(name: str, *needs: str) -> Step:
    return Step(name=name, queue="ocr", function="f", kwargs={"of": name}, needs=needs)


@st.composite
def graphs(draw: st.DrawFn) -> Flow:
    """Any acyclic graph, its steps in any order."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 8)))]
    steps = [
        step(name, *sorted(draw(st.sets(st.sampled_from(names[:n])))) if n else ()) for n, name in enumerate(names)
    ]
    return flow(*draw(st.permutations(steps)))


@given(graphs(), st.data())
def test_every_graph_runs_each_step_once_and_after_what_it_needs(graph: Flow, data: st.DataObject) -> None:
    states: dict[str, StepState] = {}
    while outcome(graph, states) is FlowState.RUNNING:
        startable = ready(graph, states)
        assert startable, "a running flow that can't go on"
        chosen = data.draw(st.sampled_from(startable))
        assert chosen.name not in states
        assert all(states[need] is StepState.SUCCEEDED for need in chosen.needs)
        states[chosen.name] = StepState.SUCCEEDED
    assert outcome(graph, states) is FlowState.SUCCEEDED
    assert states.keys() == {s.name for s in graph.steps}
    assert ready(graph, states) == []


@given(graphs(), st.data())
def test_what_comes_after_a_failed_step_never_starts(graph: Flow, data: st.DataObject) -> None:
    failed = data.draw(st.sampled_from(graph.steps)).name
    states = {s.name: StepState.SUCCEEDED for s in graph.steps if s.name != failed and failed not in _before(graph, s)}
    states[failed] = StepState.FAILED
    assert outcome(graph, states) is FlowState.FAILED
    assert ready(graph, states) == []


def _before(graph: Flow, one: Step) -> set[str]:
    found = set(one.needs)
    for need in one.needs:
        found |= _before(graph, graph.step(need))
    return found


def test_a_cancelled_step_outweighs_a_failed_one() -> None:
    two = flow(step("a"), step("b"))
    assert outcome(two, {"a": StepState.FAILED, "b": StepState.CANCELLED}) is FlowState.CANCELLED


@given(graphs())
def test_a_flow_survives_its_way_through_plain_data(graph: Flow) -> None:
    assert Flow.from_data(graph.to_data()) == graph


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((), "no steps"),
        ((step("a"), step("a")), "two steps of one name"),
        ((step("a", "a"),), "a needs"),
        ((step("a", "b"), step("b", "a")), "never finish"),
        ((step("a"), step("b", "nowhere")), "nowhere"),
    ],
)
def test_what_could_never_finish_is_refused(steps: tuple[Step, ...], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        flow(*steps)


def test_a_steps_job_has_the_same_id_each_time_and_names_its_queue() -> None:
    one = flow(step("pages-1"))
    assert one.job_id(one.step("pages-1")) == "ocr-1-pages-1"
    with pytest.raises(KeyError):
        one.step("nowhere")
