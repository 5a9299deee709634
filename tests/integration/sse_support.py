"""A reader of server-sent events."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import ClientResponse

from tests.unit.server_support import Lab


async def open_stream(lab: Lab, path: str, *, last: str | None = None) -> ClientResponse:
    """The stream at an address, from the beginning or after the event ``last``."""
    headers = lab.auth | ({"Last-Event-ID": last} if last else {})
    answer = await lab.client.get(path, headers=headers)
    assert answer.status == 200, await answer.text()
    return answer


async def read_event(answer: ClientResponse, *, never: str | None = None) -> dict[str, Any]:
    """The next event's fields, comments passed over; empty at the stream's end. No line may hold ``never``."""
    fields: dict[str, Any] = {}
    async with asyncio.timeout(5):
        while line := (await answer.content.readline()).decode():
            assert never is None or never not in line
            name, _, value = line.rstrip("\n").partition(": ")
            if name and value:
                fields[name] = json.loads(value) if name == "data" else value
            elif "event" in fields:
                return fields
    return {}
