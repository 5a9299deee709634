"""A payload that can't be written is refused before anything is sent: by our codec, or by somebody's own."""

from __future__ import annotations

from typing import Any

import pytest
from arq.jobs import SerializationError

from jobqueue.broker.enqueue import NewJob
from jobqueue.errors import InvalidInput
from tests.engine_support import pool_of

NOBODY_LISTENS = "redis://127.0.0.1:1"


async def test_what_somebody_s_own_serialiser_raises_is_told_as_arq_tells_it() -> None:
    def serialise(data: dict[str, Any]) -> bytes:
        raise LookupError("no codec for this")

    pool = pool_of(NOBODY_LISTENS)
    pool.job_serializer = serialise
    with pytest.raises(SerializationError, match="unable to serialize job 'f'") as caught:
        await pool.enqueue_job("f", 1)
    assert isinstance(caught.value.__cause__, LookupError)
    with pytest.raises(SerializationError):
        await pool.enqueue_many([NewJob(function="f")])


async def test_our_codec_says_what_is_wrong_itself() -> None:
    with pytest.raises(InvalidInput, match="a object can't be put on the queue"):
        await pool_of(NOBODY_LISTENS).enqueue_job("f", object())
