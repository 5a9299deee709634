"""The server as one aiohttp application: its routes, and the layers every request passes.

From the outside in: log → errors to problems → host and origin → caller → handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from jobqueue.payloads import EXTENSIONS
from jobqueue.ports import BlobStore, Records, Seal, TaskQueue
from jobqueue.scheduling import NAME
from jobqueue.server import contracts, control, events, jobs, pages, queues, schedules, steps, submit, tasks
from jobqueue.server.access_log import log_requests
from jobqueue.server.auth import Access, authenticate
from jobqueue.server.context import DEPS, Deps, ServerLimits
from jobqueue.server.guard import add_security_headers, guard
from jobqueue.server.models import ID
from jobqueue.server.problems import problems
from jobqueue.server.streams import StreamSlots

__all__ = ["ServerLimits", "build_app"]

# Only well-formed ids reach a handler, so `queues` in the place of an id can't be mistaken for one.
_TASK = f"/api/tasks/{{id:task-{ID}}}"
_FILE = f"/api/tasks/files/{{id:file-{ID}}}"
_CONTRACT = f"/api/contracts/{{id:contract-{ID}}}"
_FORMAT = f"{{format:{'|'.join(EXTENSIONS)}}}"
_RULE = "/api/queues/{queue}/rules/{scope:[^/]+}"  # with braces, if need be
_SCHEDULE = f"/api/schedules/{{name:{NAME}}}"

ROUTES = [
    web.post("/api/tasks/files/process", submit.process_file),
    web.post(f"{_FILE}/ocr", submit.ocr_file),
    web.post("/api/tasks/contracts/analyze", submit.analyze_contract),
    web.post("/api/tasks/contracts/export", submit.export_contract),
    web.get("/api/tasks", tasks.latest),
    web.get("/api/tasks/queues/status", queues.queue_status),
    web.get(f"{_TASK}/status", tasks.status),
    web.get(f"{_TASK}/events", events.events, allow_head=False),
    web.delete(_TASK, tasks.cancel),
    web.post(f"{_TASK}/replay", steps.replay),
    web.get(f"{_TASK}/steps/{{step:[A-Za-z0-9_-]{{1,64}}}}/children", steps.children),
    web.get("/api/jobs/{id}", jobs.status),
    web.get("/api/jobs/{id}/events", jobs.events, allow_head=False),
    web.delete("/api/jobs/{id}", jobs.cancel),
    web.get(_CONTRACT, contracts.contract),
    web.get(f"{_CONTRACT}/reports/{_FORMAT}", contracts.report, allow_head=False),
    web.get("/api/schedules", schedules.latest),
    web.post("/api/schedules", schedules.create),
    web.get(_SCHEDULE, schedules.one),
    web.put(_SCHEDULE, schedules.replace),
    web.delete(_SCHEDULE, schedules.delete),
    web.post(f"{_SCHEDULE}/pause", schedules.pause),
    web.post(f"{_SCHEDULE}/resume", schedules.resume),
    web.post(f"{_SCHEDULE}/run", schedules.run),
    web.get("/api/queues/{queue}/rules", control.rules),
    web.put(_RULE, control.limit),
    web.delete(_RULE, control.unlimit),
    web.put("/api/queues/{queue}/holds/{name}", control.hold),
    web.delete("/api/queues/{queue}/holds/{name}", control.lift),
    web.post("/api/queues/{queue}/pause", control.pause),
    web.post("/api/queues/{queue}/resume", control.resume),
    web.post("/api/queues/{queue}/drain", control.drain),
    web.post("/api/queues/{queue}/purge", control.purge),
    web.get("/livez", queues.live),
    web.get("/readyz", queues.ready),
    web.get("/", pages.index),
    web.get("/static/{name}", pages.static),
    web.get("/login", pages.login, allow_head=False),  # a HEAD by a link preview would burn the token
]


async def _stop_streams(app: web.Application) -> None:
    app[DEPS].stopping.set()


def build_app(
    *,
    records: Records,
    blobs: BlobStore,
    queue: TaskQueue,
    access: Access,
    limits: ServerLimits,
    seal: Seal | None = None,
    also_ready: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
) -> web.Application:
    """The application, ready for a runner.

    ``also_ready`` must answer, as queue and records, before it says that it is ready.

    It opens and closes nothing: the ports belong to whoever passed them. Run it with ``access_log=None``; it logs
    its requests itself, without their query strings.
    """
    app = web.Application(
        middlewares=[log_requests, problems, guard, authenticate],
        client_max_size=limits.max_json_bytes,  # of bodies read whole; uploads stream past it to their own limit
    )
    app[DEPS] = Deps(
        records=records,
        blobs=blobs,
        queue=queue,
        access=access,
        limits=limits,
        seal=seal,
        streams=StreamSlots(limits.max_streams),
        also_ready=also_ready or {},
    )
    app.add_routes(ROUTES)
    app.on_response_prepare.append(add_security_headers)
    app.on_shutdown.append(_stop_streams)
    return app
