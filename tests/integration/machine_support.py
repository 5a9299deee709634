"""What the state machines that run against a real Redis share: a loop of their own, a pool, the scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar, cast

from hypothesis.stateful import RuleBasedStateMachine

from jobqueue.broker.scripts import Scripts
from tests.engine_support import INGEST, pool_of

T = TypeVar("T")


class RedisMachine(RuleBasedStateMachine):
    """A machine over an emptied database. Set ``url`` before it is run."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = cast("Any", pool_of(self.url))
        self.scripts = Scripts(self.redis, INGEST)
        self.await_(self.redis.flushdb())

    def await_(self, awaitable: Awaitable[T]) -> T:
        async def run() -> T:
            return await awaitable

        coroutine: Coroutine[Any, Any, T] = run()
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.await_(self.redis.aclose(close_connection_pool=True))
        self.runner.close()
