"""The whole product on Sentinel and on a Cluster, by one setting; it goes on when the primary is killed."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobqueue.broker.keys import QueueKeys, queue_name
from tests.acceptance.command_support import Place, read_document
from tests.engine_support import wait_until
from tests.ha import topology
from tests.unit import hostile_files

QUEUES = ("ingest", "ocr", "llm", "export", "system")


@asynccontextmanager
async def product(directory: Path, servers: topology.Topology, **settings: str) -> AsyncIterator[Place]:
    """The five workers, by arq's own command, and the server."""
    place = Place(directory=directory, settings={"JOBQUEUE_REDIS_URL": servers.url, **settings})
    (directory / "receipt.pdf").write_bytes(hostile_files.text_pdf())
    (directory / "locked.pdf").write_bytes(hostile_files.encrypted_pdf())
    with place.start("up", "--port", "0", "--json") as process:
        await asyncio.to_thread(read_document, process)
        pids = {child.pid for child in place.processes()}
        yield place
        assert process.poll() is None
        assert pids <= {child.pid for child in place.processes()}, "a worker ended"


async def the_server_takes_files_again(place: Place) -> None:
    """For a second or two after a failover it says that the queue can't be reached; it starts such tasks later."""

    async def taken() -> bool:
        return (await asyncio.to_thread(place.run, "submit", place.directory / "receipt.pdf")).returncode == 0

    await wait_until(taken, within_s=10, what="an accepted file")


async def a_file_goes_through_all_stages(place: Place) -> None:
    await the_server_takes_files_again(place)
    # One that is accepted while Redis is away after all is submitted again within two minutes.
    submit = partial(place.json, "submit", "--wait", place.directory / "receipt.pdf", timeout_s=150)
    [file] = (await asyncio.to_thread(submit))["files"]
    assert file["state"] == "succeeded"
    assert {stage["state"] for stage in file["stages"]} == {"succeeded"}


async def a_dead_letter_is_listed_replayed_and_discarded(place: Place) -> None:
    def dead() -> list[dict[str, Any]]:
        return place.json("dead", "list", "--queue", "ingest")["dead_letters"]  # type: ignore[no-any-return]  # JSON

    refused = await asyncio.to_thread(place.run, "submit", "--wait", place.directory / "locked.pdf")
    assert "protected by a password" in refused.stderr
    [letter] = await asyncio.to_thread(dead)
    done = await asyncio.to_thread(place.json, "dead", "replay", letter["job_id"])
    assert done == {"replayed": [letter["job_id"]], "failed": []}

    async def buried_again() -> bool:
        return [x["buried_at"] > letter["buried_at"] for x in await asyncio.to_thread(dead)] == [True]

    await wait_until(buried_again, within_s=20)
    discarded = await asyncio.to_thread(place.json, "dead", "discard", letter["job_id"])
    assert discarded["discarded"] == [letter["job_id"]]


async def a_task_is_cancelled(place: Place) -> None:
    def cancel() -> None:
        submitted = place.json("submit", place.directory / "receipt.pdf")
        address = (place.data_dir / "server-url").read_text().strip()
        key = (place.data_dir / "api-key").read_text().strip()
        request = urllib.request.Request(
            f"{address}/api/tasks/{submitted['files'][0]['task_id']}",
            method="DELETE",
            headers={"Authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["state"] in {"cancelled", "cancelling", "finished"}

    await asyncio.to_thread(cancel)


async def every_worker_beats(place: Place) -> None:
    async def beating() -> bool:
        status = await asyncio.to_thread(place.run, "status", "--json")
        workers = {queue["name"]: queue["workers"] for queue in json.loads(status.stdout or "{}").get("queues", [])}
        return workers == dict.fromkeys(QUEUES, 1)

    await wait_until(beating, within_s=30, what="all workers' beats")


@pytest.mark.timeout(400)
async def test_the_product_runs_on_sentinel_and_goes_on_when_the_primary_is_killed(tmp_path: Path) -> None:
    async with (
        topology.sentinel(tmp_path / "redis", password="secret") as servers,
        product(tmp_path, servers, JOBQUEUE_DURABLE="replica") as place,
    ):
        await every_worker_beats(place)
        await a_file_goes_through_all_stages(place)
        await a_dead_letter_is_listed_replayed_and_discarded(place)
        dead, _ = await servers.kill_primary()
        await servers.settled()
        await every_worker_beats(place)
        await a_file_goes_through_all_stages(place)
        await servers.bring_back(dead)
        await servers.settled()
        await servers.hand_over()
        await servers.settled()  # until a replica follows the new primary, no write is durable
        await every_worker_beats(place)
        await a_file_goes_through_all_stages(place)
        await a_task_is_cancelled(place)
        arq = str(Path(sys.executable).with_name("arq"))
        for queue in QUEUES:
            settings = f"jobqueue.worker.{queue.title()}Settings"
            checked = await asyncio.to_thread(place.run, "--check", command=(arq, settings))
            assert checked.returncode == 0, checked.stderr


@pytest.mark.timeout(400)
async def test_the_product_runs_on_a_cluster_and_goes_on_when_a_primary_is_killed(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path / "redis") as servers, product(tmp_path, servers) as place:
        await every_worker_beats(place)
        await a_file_goes_through_all_stages(place)
        await a_dead_letter_is_listed_replayed_and_discarded(place)
        key = QueueKeys(queue_name("ocr"), cluster=True).queue
        dead, _ = await servers.kill_primary(key)
        await every_worker_beats(place)
        await a_file_goes_through_all_stages(place)
        await servers.bring_back(dead, key)
        await servers.settled(key)
        await servers.hand_over(key)
        await a_file_goes_through_all_stages(place)
        await a_task_is_cancelled(place)
