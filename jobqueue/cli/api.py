"""The server's API as the commands use it; what goes wrong comes back as an error of our own tree."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr, ValidationError

from jobqueue import errors
from jobqueue.cli.common import one_line
from jobqueue.cli.local_files import address_file, key_file
from jobqueue.errors import ConfigError, Denied, JobqueueError, NotFound, Permanent, RejectedFile, Unavailable
from jobqueue.job import State
from jobqueue.settings import Settings
from jobqueue.tasks import Extraction, Model
from jobqueue.views import ChildrenPage, JobEvent, JobView, QueueView, TaskView

ModelT = TypeVar("ModelT", bound=Model)

FINISHED: Final = frozenset(state.value for state in State if state.finished)

_BUFFER_BYTES: Final = 1 << 20  # a line of an event stream is a whole task as JSON
_ANSWER_S: Final = 60.0
_SILENCE_S: Final = 45.0  # three of the server's heartbeats
_AWAY_S: Final = 60.0  # how long a server that answered before may be away, restarting
_AGAIN_S: Final = 0.5
_CHUNK_BYTES: Final = 1 << 18


class Accepted(Model):
    """A file that the server has taken in, and the ids of what it made of it."""

    task_id: str
    file_id: str
    contract_id: str


class Contract(Model):
    """What has been found in a contract; ``reports`` are links by format."""

    id: str
    extraction: Extraction | None
    reports: dict[str, str]


class _Queues(Model):
    queues: list[QueueView]


class _Answer(Model):
    state: str


class Api:
    """A tenant's view of one server; made by `connect`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def upload(self, path: Path, *, password: SecretStr | None = None) -> Accepted:
        """Send a file, a piece at a time, and have it processed; a protected one with its password.

        Raises:
            RejectedFile: there is no such file, or nothing in it.
            Permanent: the server refused it.
        """
        check(path)
        # By its descriptor: aiohttp would send along the name of a file object, and fails where that is no UTF-8.
        with os.fdopen(os.open(path, os.O_RDONLY), "rb") as file:
            form = aiohttp.FormData(quote_fields=False)  # percent signs would become part of the name
            if password is not None:  # before the file: a server that takes none says so at once
                form.add_field("password", password.get_secret_value())
            form.add_field("file", file, filename=one_line(path.name))
            no_limit = aiohttp.ClientTimeout(sock_connect=_ANSWER_S, sock_read=_ANSWER_S)
            return await self._ask("POST", "/api/tasks/files/process", Accepted, data=form, timeout=no_limit)

    async def task(self, task_id: str) -> TaskView:
        """A task as it stands. Raises `NotFound`."""
        return await self._ask("GET", f"/api/tasks/{_task_id(task_id)}/status", TaskView)

    async def queues(self) -> list[QueueView]:
        """Every queue as it stands."""
        return (await self._ask("GET", "/api/tasks/queues/status", _Queues)).queues

    async def contract(self, contract_id: str) -> Contract:
        """What has been found in a contract so far."""
        return await self._ask("GET", f"/api/contracts/{contract_id}", Contract)

    async def watch(self, task_id: str) -> AsyncIterator[TaskView]:
        """The task now and after each change, until it has finished.

        Raises:
            NotFound: there is no such task.
            Unavailable: the server isn't there, or went away and didn't come back within a minute.
        """
        yield await self.task(task_id)  # unlike what follows, the first answer is not waited for
        async with aclosing(self._lasting(f"/api/tasks/{task_id}/events")) as events:
            async for _, event, data in events:
                if event == "status":
                    view = TaskView.model_validate_json(data)
                    yield view
                    if view.state in FINISHED:
                        return

    async def cancel(self, task_id: str) -> str:
        """Cancel a task: ``cancelled`` or ``cancelling``. Raises `NotFound`; `Conflict` when it has finished."""
        return (await self._ask("DELETE", f"/api/tasks/{_task_id(task_id)}", _Answer)).state

    async def replay(self, task_id: str, *, step: str | None, failed_only: bool) -> None:
        """Do a task again, from a step on where one is named. Raises `NotFound`; `Conflict` when it still runs."""
        body = {"step": step, "failed_only": failed_only}
        async with self._request("POST", f"/api/tasks/{_task_id(task_id)}/replay", json=body):
            pass

    async def children(self, task_id: str, step: str, *, offset: int, limit: int) -> ChildrenPage:
        """Some of the jobs of a task's step. Raises `NotFound`; `InvalidInput` when it has no such step with any."""
        path = f"/api/tasks/{_task_id(task_id)}/steps/{quote(step, safe='')}/children"
        return await self._ask("GET", path, ChildrenPage, params={"offset": offset, "limit": limit})

    async def job(self, job_id: str) -> JobView:
        """A job as it stands. Raises `NotFound`."""
        return await self._ask("GET", _job_path(job_id), JobView)

    async def cancel_job(self, job_id: str) -> str:
        """Cancel a job: ``cancelled`` or ``cancelling``. Raises `NotFound`; `Conflict` when it has finished."""
        return (await self._ask("DELETE", _job_path(job_id), _Answer)).state

    async def watch_job(self, job_id: str) -> AsyncIterator[JobEvent]:
        """What happens to a job, from its state now to its end, each piece of its result once. Raises as `watch`."""
        await self.job(job_id)
        async with aclosing(self._lasting(f"{_job_path(job_id)}/events")) as events:
            async for event_id, event, data in events:
                if event in {"state", "progress", "partial"}:
                    yield JobEvent.model_validate({"id": event_id, "kind": event, "data": json.loads(data)})

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

    async def _lasting(self, path: str) -> AsyncGenerator[tuple[str, str, str], None]:
        """Id, name and data of an event stream's events until its end; taken up where it broke off."""
        loop = asyncio.get_running_loop()
        away_since: float | None = None
        last_id = ""
        while True:
            try:
                async with aclosing(self._events(path, last_id)) as events:
                    async for event_id, event, data in events:
                        away_since = None
                        if event == "end":
                            return
                        last_id = event_id
                        yield event_id, event, data
            except Unavailable:
                away_since = away_since or loop.time()
                if loop.time() - away_since > _AWAY_S:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def _events(self, path: str, last_id: str) -> AsyncGenerator[tuple[str, str, str], None]:
        """The events of one stream (WHATWG HTML, section 9.2), as far as it reaches."""
        timeout = aiohttp.ClientTimeout(sock_connect=_ANSWER_S, sock_read=_SILENCE_S)
        headers = {"Last-Event-ID": last_id} if last_id else {}
        async with self._request("GET", path, timeout=timeout, headers=headers) as response:
            event, event_id = "", last_id
            async for raw in response.content:
                field, _, value = raw.decode().rstrip("\r\n").partition(": ")
                if field == "event":
                    event = value
                elif field == "id":
                    event_id = value
                elif field == "data":
                    yield event_id, event, value

    async def _ask(self, method: str, path: str, model: type[ModelT], **options: Any) -> ModelT:
        async with self._request(method, path, **options) as response:
            return model.model_validate_json(await response.read())

    @asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, f"{self.url}{path}", allow_redirects=False, **options) as response:
                if not response.ok:
                    raise _error(response.status, await response.text())
                yield response
        except aiohttp.ClientConnectorError as exc:
            raise Unavailable(
                f"no server answers at {self.url}: start it with 'jobqueue up', or set JOBQUEUE_SERVER_URL"
            ) from exc
        except aiohttp.InvalidURL as exc:
            raise ConfigError(f"JOBQUEUE_SERVER_URL: {self.url!r} is no address: give http://host:port") from exc
        except (aiohttp.ClientError, TimeoutError, ValidationError) as exc:
            raise Unavailable(f"the server at {self.url} broke off ({type(exc).__name__} {exc})") from exc


def _task_id(text: str) -> str:
    if not re.fullmatch(r"task-[0-9a-z]{26}(\.[0-9]{1,5}){0,3}", text):
        raise NotFound(f"there is no task {text!r}: a task's id is 'task-' and 26 letters and digits")
    return text


def _job_path(job_id: str) -> str:
    if not job_id or job_id in {".", ".."}:
        raise NotFound(f"there is no job {job_id!r}")
    return f"/api/jobs/{quote(job_id, safe='')}"


def check(path: Path) -> None:
    """Raise `RejectedFile` for what can't be sent at all."""
    if not path.exists():
        raise RejectedFile("there is no such file")
    if not path.is_file():
        raise RejectedFile("this is not a file")


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
