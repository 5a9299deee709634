"""One worker that recognises pages, in a process of its own, until its standard input ends.

``python -m tests.bench.ocr_worker URL QUEUE PDF OCR_ENGINE``: a job is a page; its text and the seconds that the page
itself took, measured in the sandbox, go onto the list ``ocr:pages``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from arq.worker import func

from jobqueue.broker.connection import open_pool, parse
from jobqueue.engine.features import Features
from jobqueue.engine.worker import Worker
from jobqueue.job import decode, encode
from jobqueue.services.sandbox import ProcessSandbox

PAGES_KEY = "ocr:pages"


async def main(url: str, queue: str, pdf: str, ocr_engine: str) -> None:
    """One page at a time: a worker keeps one core busy, so that two show what a second one adds."""
    async with ProcessSandbox(processes=1) as sandbox:

        async def page(ctx: dict[Any, Any], number: int) -> None:
            found = await sandbox.run(
                "handlers.documents.text:read_page", pdf, "application/pdf", number,
                engine="pymupdf", languages="eng", ocr_engine=ocr_engine,
            )  # fmt: skip
            row = {"number": number, "text": found["text"], "seconds": found["seconds"]}
            await ctx["redis"].rpush(PAGES_KEY, json.dumps(row))

        job: Any = page  # arq's types want a coroutine function that takes anything
        worker = Worker(
            functions=[func(job, name="page")],
            redis_pool=open_pool(parse(url)),  # type: ignore[arg-type]  # a Pool is an ArqRedis here
            queue_name=queue,
            max_jobs=1,
            handle_signals=False,
            job_serializer=encode,
            job_deserializer=decode,
            features=Features(),
        )
        running = asyncio.create_task(worker.main())
        await asyncio.to_thread(sys.stdin.read)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await worker.close()


if __name__ == "__main__":
    logging.disable(logging.INFO)
    asyncio.run(main(*sys.argv[1:]))
