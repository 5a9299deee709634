"""Slots: never more than there are, shared by weight, and none idle while there is work."""

from __future__ import annotations

from collections import Counter
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from jobqueue.engine.slots import Slots

NAMES = ("ingest", "llm", "system")


class AnyWorkers(RuleBasedStateMachine):
    """Workers of three queues claim and release in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.limits = 7, {"ingest": 5, "llm": 7, "system": 2}
        self.slots = Slots(self.total, {name: (weight, self.limits[name]) for name, weight in zip(NAMES, (10, 8, 3))})  # noqa: B905  # both have three
        self.running: Counter[str] = Counter()

    @rule(name=st.sampled_from(NAMES), share=st.floats(0, 1))
    def claim(self, name: str, share: float) -> None:
        asked = self.slots.grant(name)
        assert asked >= 0
        if asked:
            got = round(asked * share)
            self.slots.claimed(name, asked=asked, got=got)
            self.running[name] += got

    @rule(name=st.sampled_from(NAMES))
    def release(self, name: str) -> None:
        if self.running[name]:
            self.slots.release(name)
            self.running[name] -= 1

    @invariant()
    def no_more_than_there_are(self) -> None:
        assert self.running.total() <= self.total
        assert all(self.running[name] <= self.limits[name] for name in NAMES)
        for name in NAMES:
            granted = self.slots.grant(name)
            assert granted <= self.total - self.running.total()
            assert granted <= self.limits[name] - self.running[name]

    @invariant()
    def somebody_may_always_claim_a_free_slot(self) -> None:
        if self.running.total() < self.total and any(self.running[name] < self.limits[name] for name in NAMES):
            assert any(self.slots.grant(name) for name in NAMES)


TestAnyWorkers = AnyWorkers.TestCase


def test_a_queue_alone_has_all_its_slots() -> None:
    slots = Slots(10, {"ingest": (1.0, 10)})
    slots.claimed("ingest", asked=10, got=4)
    assert slots.grant("ingest") == 6


@given(st.integers(1, 20), st.floats(0.5, 20), st.floats(0.5, 20))
def test_queues_that_always_have_work_get_their_weights(total: int, heavy: float, light: float) -> None:
    slots = Slots(total, {"a": (heavy, total), "b": (light, total)})
    got: Counter[str] = Counter()
    for _ in range(400):
        for name in ("a", "b"):
            granted = slots.grant(name)
            if granted:
                slots.claimed(name, asked=granted, got=granted)
                got[name] += granted
                for _ in range(granted):
                    slots.release(name)
    share = got["a"] / got.total()
    assert abs(share - heavy / (heavy + light)) < 0.1


def test_a_queue_without_work_leaves_its_slots_to_the_others() -> None:
    slots = Slots(8, {"a": (10.0, 8), "b": (1.0, 8)})
    slots.claimed("a", asked=slots.grant("a"), got=0)
    assert slots.grant("b") == 8


def test_a_queue_that_comes_back_has_saved_no_credit() -> None:
    slots = Slots(1, {"a": (1.0, 1), "b": (1.0, 1)})
    slots.claimed("b", asked=slots.grant("b"), got=0)
    for _ in range(100):
        slots.claimed("a", asked=1, got=1)
        slots.release("a")
    slots.claimed("b", asked=slots.grant("b"), got=1)
    slots.release("b")
    assert slots.grant("a") == 1, "b doesn't get a hundred turns in a row"


def test_the_others_are_woken_when_a_slot_comes_free_or_a_queue_runs_dry() -> None:
    slots = Slots(2, {"a": (1.0, 2), "b": (1.0, 2)})
    woken: list[str] = []
    slots.on_free("a", lambda: woken.append("a"))
    slots.on_free("b", lambda: woken.append("b"))
    slots.claimed("a", asked=1, got=1)
    assert woken == []
    slots.release("a")
    assert woken == ["b"]
    slots.claimed("a", asked=2, got=1)
    assert woken == ["b", "b"]


def test_slots_of_a_claim_under_way_are_not_granted_to_its_queue_once_more() -> None:
    slots = Slots(4, {"a": (1.0, 4)})
    with slots.asking("a", 3):
        assert slots.grant("a") == 1
    assert slots.grant("a") == 4


def test_idle_queues_dont_wake_each_other_for_ever() -> None:
    slots, rung = Slots(4, {"a": (1.0, 4), "b": (1.0, 4)}), Counter[str]()
    for name in ("a", "b"):
        slots.on_free(name, partial(rung.update, [name]))
    for _ in range(3):
        for name in ("a", "b"):
            slots.claimed(name, asked=1, got=0)
    assert rung == {"a": 1, "b": 1}
