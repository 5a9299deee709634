"""Steps put together: one after another, side by side, and one for each item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobqueue.flows.model import OnFailure, Step

Steps = Step | tuple[Step, ...]


def group(*parts: Steps) -> tuple[Step, ...]:
    """Steps side by side.

    >>> [step.name for step in group(Step(name="a", queue="q", function="f"), Step(name="b", queue="q", function="f"))]
    ['a', 'b']
    """
    return tuple(step for part in parts for step in ((part,) if isinstance(part, Step) else part))


def chain(*parts: Steps) -> tuple[Step, ...]:
    """Parts one after another: what nothing comes before in a part needs all that nothing comes after in the last one.

    >>> a, b, c, d = (Step(name=name, queue="q", function="f") for name in "abcd")
    >>> [(step.name, step.needs) for step in chain(a, group(b, c), d)]
    [('a', ()), ('b', ('a',)), ('c', ('a',)), ('d', ('b', 'c'))]
    """
    steps: list[Step] = []
    last: tuple[str, ...] = ()
    for part in parts:
        these = group(part)
        names = {step.name for step in these}
        steps += [step if names & set(step.needs) else replace(step, needs=(*last, *step.needs)) for step in these]
        needed = {need for step in these for need in step.needs}
        last = tuple(step.name for step in these if step.name not in needed)
    return tuple(steps)


def batch(
    function: str,
    items: Sequence[Mapping[str, Any]],
    *,
    queue: str,
    name: str = "batch",
    kwargs: Mapping[str, Any] | None = None,
    on_failure: OnFailure | str = OnFailure.CONTINUE,
    on_done: Step | None = None,
) -> tuple[Step, ...]:
    """One job for each of ``items``, and one more when all have ended.

    Args:
        function: of the jobs.
        items: each one's own arguments.
        queue: where they run, by its short name.
        name: of the step.
        kwargs: arguments that all have in common.
        on_failure: what the failure of a job means; by default ``on_done`` runs all the same and finds the counts by
            ``await ctx["flow"].counts(name)``.
        on_done: the step that comes after.

    >>> done = Step(name="tell", queue="system", function="tell")
    >>> [(s.name, s.count, s.needs) for s in batch("resize", [{"n": 1}, {"n": 2}], queue="ocr", on_done=done)]
    [('batch', 2, ()), ('tell', None, ('batch',))]
    """
    step = Step(
        name=name, queue=queue, function=function, kwargs=kwargs or {}, items=items, on_failure=OnFailure(on_failure)
    )
    return (step,) if on_done is None else chain(step, on_done)
