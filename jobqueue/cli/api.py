"""The server's API as the commands use it; what goes wrong comes back as an error of our own tree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from pydantic import TypeAdapter, ValidationError

from jobqueue import errors
from jobqueue.cli.local_files import address_file, key_file
from jobqueue.errors import Denied, JobqueueError, NotFound, Permanent, RejectedFile, Unavailable
from jobqueue.job import State
from jobqueue.settings import Settings
from jobqueue.tasks import QueueView, TaskView

FINISHED: Final = frozenset(state.value for state in State if state.finished)

_BUFFER_BYTES: Final = 1 << 20  # a line of an event stream is a whole task as JSON
_ANSWER_S: Final = 60.0
_SILENCE_S: Final = 45.0  # three of the server's heartbeats
_AWAY_S: Final = 60.0  # how long a server that answered before may be away, restarting
_AGAIN_S: Final = 0.5
_CHUNK_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A file that the server has taken in, and the ids of what it made of it."""

    task_id: str
    file_id: str
    contract_id: str


class Api:
    """A tenant's view of one server; made by `connect`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def upload(self, path: Path) -> Accepted:
        """Send a file, a piece at a time, and have it processed.

        Raises:
            RejectedFile: there is no such file, or nothing in it.
            Permanent: the server refused it.
        """
        check(path)
        with path.open("rb") as file:
            form = aiohttp.FormData()
            form.add_field("file", file, filename=path.name)
            no_limit = aiohttp.ClientTimeout(sock_connect=_ANSWER_S, sock_read=_ANSWER_S)
            answer = await self._json("POST", "/api/tasks/files/process", data=form, timeout=no_limit)
        return TypeAdapter(Accepted).validate_python({name: answer[name] for name in Accepted.__slots__})

    async def task(self, task_id: str) -> TaskView:
        """A task as it stands."""
        return TaskView.model_validate(await self._json("GET", f"/api/tasks/{task_id}/status"))

    async def queues(self) -> list[QueueView]:
        """Every queue as it stands."""
        answer = await self._json("GET", "/api/tasks/queues/status")
        return [QueueView.model_validate(queue) for queue in answer["queues"]]

    async def contract(self, contract_id: str) -> dict[str, Any]:
        """What has been found in a contract so far."""
        return await self._json("GET", f"/api/contracts/{contract_id}")

    async def watch(self, task_id: str) -> AsyncIterator[TaskView]:
        """The task now and after each change, until it has finished.

        Raises:
            Unavailable: the server went away and didn't come back within a minute.
        """
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while True:
            try:
                async for view in self._events(task_id):
                    heard = loop.time()
                    yield view
                    if view.state in FINISHED:
                        return
            except Unavailable:
                if loop.time() - heard > _AWAY_S:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def download(self, link: str, target: Path) -> None:
        """Store what is behind a link of the API as a file; there whole or not at all."""
        draft = target.with_name(f".{target.name}.part")
        try:
            with draft.open("wb") as file:
                async with self._request("GET", link, timeout=aiohttp.ClientTimeout(sock_read=_ANSWER_S)) as response:
                    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                        file.write(chunk)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    async def _events(self, task_id: str) -> AsyncIterator[TaskView]:
        """The views of one event stream (WHATWG HTML, section 9.2), as far as it reaches."""
        timeout = aiohttp.ClientTimeout(sock_connect=_ANSWER_S, sock_read=_SILENCE_S)
        async with self._request("GET", f"/api/tasks/{task_id}/events", timeout=timeout) as response:
            event = ""
            async for raw in response.content:
                field, _, value = raw.decode().rstrip("\r\n").partition(": ")
                if field == "event":
                    event = value
                elif field == "data" and event == "status":
                    yield TaskView.model_validate_json(value)

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        async with self._request(method, path, **options) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    @asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, f"{self.url}{path}", **options) as response:
                if not response.ok:
                    raise _error(response.status, await response.text())
                yield response
        except aiohttp.ClientConnectorError as exc:
            raise Unavailable(
                f"no server answers at {self.url}: start it with 'jobqueue up', or set JOBQUEUE_SERVER_URL"
            ) from exc
        except (aiohttp.ClientError, TimeoutError, ValidationError) as exc:
            raise Unavailable(f"the server at {self.url} broke off ({type(exc).__name__} {exc})") from exc


def check(path: Path) -> None:
    """Raise `RejectedFile` for what can't be sent at all: no file, or nothing in it."""
    if not path.exists():
        raise RejectedFile("there is no such file")
    if not path.is_file():
        raise RejectedFile("this is not a file")
    if path.stat().st_size == 0:
        raise RejectedFile("the file is empty")


_BY_CODE: Final[Mapping[str, type[JobqueueError]]] = {
    "denied": Denied,
    "forbidden": Denied,
    "not_found": NotFound,
    "invalid_input": errors.InvalidInput,
    "limit_exceeded": errors.LimitExceeded,
    "conflict": errors.Conflict,
    "unavailable": Unavailable,
}


def _error(status: int, body: str) -> JobqueueError:
    try:
        problem = json.loads(body)
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"the server answered with status {status} and no explanation: is it a jobqueue server?")
    fallback = Unavailable if status >= 500 else Permanent  # noqa: PLR2004  # RFC 9110: 5xx is the server's fault
    return _BY_CODE.get(code, fallback)(detail)


@asynccontextmanager
async def connect(config: Settings) -> AsyncIterator[Api]:
    """The API of the server that the settings name, or of the one on this machine.

    Raises:
        Denied: there is no API key.
    """
    key = config.api_key.get_secret_value() if config.api_key else _read(key_file(config))
    if not key:
        raise Denied(f"set JOBQUEUE_API_KEY to an API key; 'jobqueue up' makes one in {key_file(config)}")
    url = config.server_url or _read(address_file(config)) or f"http://127.0.0.1:{config.port}"
    async with open_api(url.rstrip("/"), key) as api:
        yield api


@asynccontextmanager
async def open_api(url: str, key: str) -> AsyncIterator[Api]:
    """The API of the server at ``url``, for the tenant of this API key."""
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
        read_bufsize=_BUFFER_BYTES,
    ) as session:
        yield Api(session, url)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
