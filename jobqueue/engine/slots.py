"""Which queue of a process may claim how many jobs next.

A worker of one queue has all the slots. A process that serves several shares them by weight: stride scheduling
(Waldspurger and Weihl, "Stride Scheduling", MIT, 1995). Every claimed job moves its queue's pass on by 1/weight, and
a queue that has work waits while another one that has work is behind it. So a busy queue of any weight starves none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Share:
    weight: float
    limit: int
    running: int = 0
    asked: int = 0
    hungry: bool = True
    position: float = 0.0
    wake: list[Callable[[], None]] = field(default_factory=list)


class Slots:
    """Slots of one process.

    Args:
        total: jobs that may run at once in all.
        queues: queue name -> (weight, limit of its own).

    >>> slots = Slots(4, {"ingest": (3.0, 4), "system": (1.0, 4)})
    >>> slots.grant("ingest"), slots.grant("system")
    (1, 1)
    """

    def __init__(self, total: int, queues: Mapping[str, tuple[float, int]]) -> None:
        self._total = total
        self._shares = {name: _Share(weight, limit) for name, (weight, limit) in queues.items()}

    def on_free(self, queue: str, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever ``queue`` may be granted more than before."""
        self._shares[queue].wake.append(wake)

    def grant(self, queue: str) -> int:
        """How many jobs the queue may claim now."""
        share = self._shares[queue]
        free = min(self._total - sum(s.running for s in self._shares.values()), share.limit - share.running)
        free -= share.asked
        rivals = [s.position for s in self._shares.values() if s is not share and s.hungry and s.running < s.limit]
        if not rivals or free <= 0:
            return max(free, 0)
        granted, position = 0, share.position
        while granted < free and position <= min(rivals):
            granted += 1
            position += 1 / share.weight
        return granted

    @contextmanager
    def asking(self, queue: str, count: int) -> Iterator[None]:
        """Grant the queue so many fewer while a claim of its own is under way."""
        self._shares[queue].asked += count
        try:
            yield
        finally:
            self._shares[queue].asked -= count

    def claimed(self, queue: str, *, asked: int, got: int) -> None:
        """Account for a claim: a queue that got less than it asked for has no more work for now."""
        share = self._shares[queue]
        if got and not share.hungry:  # it comes back from idling: no credit for the time it didn't compete
            competing = [s.position for s in self._shares.values() if s.hungry]
            share.position = max(share.position, min(competing, default=share.position))
        share.running += got
        share.position += got / share.weight
        was_hungry, share.hungry = share.hungry, got == asked
        if was_hungry and not share.hungry:  # only then: idle queues would wake each other for ever
            self._wake(but=queue)

    def release(self, queue: str) -> None:
        """A job of the queue has ended."""
        self._shares[queue].running -= 1
        self._wake(but=queue)

    def _wake(self, *, but: str) -> None:
        for name, share in self._shares.items():
            if name != but:
                for wake in share.wake:
                    wake()
