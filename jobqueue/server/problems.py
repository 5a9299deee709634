"""Every error as problem+json (RFC 9457): the one place where the error tree meets HTTP.

``type`` is ``about:blank`` throughout, so ``title`` is the status's own phrase; ``code`` tells errors of one status
apart for programs, ``detail`` is for people.
"""

from __future__ import annotations

import json
import math
import traceback
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from jobqueue import errors
from jobqueue.job import new_id

log = structlog.get_logger()

DEFAULT_RETRY_AFTER_S: Final = 5


class Forbidden(errors.Denied):
    """The caller may be known, but this request is not allowed; logging in again changes nothing."""


class NotQueued(errors.Unavailable):
    """The task is written down but did not reach the queue.

    Args:
        task_id: the task as its row knows it, so that the client watches it instead of sending everything again.
    """

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"task {task_id} is accepted and stored, but the queue can't be reached: nothing needs to be sent again; "
            f"the task starts once the queue is back, see /api/tasks/{task_id}/status"
        )
        self.task_id = task_id


# Looked up along the error's class hierarchy, nearest first; what has no line here is a 500.
_STATUS: Final[dict[type[BaseException], HTTPStatus]] = {
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RejectedFile: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.LimitExceeded: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.Denied: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    errors.Transient: HTTPStatus.SERVICE_UNAVAILABLE,
}

_HTTP_DETAIL: Final = {
    404: "nothing lives at this address",
    405: "this address does not know the method: see the Allow header",
    413: "the body is larger than this address accepts",
}


def problem(
    status: int, detail: str, *, code: str, headers: dict[str, str] | None = None, **members: str
) -> web.Response:
    """A problem document as a response."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code}
    return web.Response(
        status=status,
        text=json.dumps(body | members, ensure_ascii=False),
        content_type="application/problem+json",
        headers=headers,
    )


def _code(exc: BaseException) -> str:
    name = type(exc).__name__
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


def _of_ours(exc: Exception, status: HTTPStatus) -> web.Response:
    headers: dict[str, str] = {}
    members: dict[str, str] = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="jobqueue"'
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        wish = getattr(exc, "retry_after_s", None)
        headers["Retry-After"] = str(math.ceil(wish) if wish else DEFAULT_RETRY_AFTER_S)
    if isinstance(exc, NotQueued):
        members["task_id"] = exc.task_id
    return problem(status, str(exc), code=_code(exc), headers=headers, **members)


def _of_aiohttp(exc: web.HTTPException) -> web.Response:
    said = exc.text if exc.text and not exc.text.startswith(f"{exc.status}:") else None
    detail = _HTTP_DETAIL.get(exc.status) or said or exc.reason
    allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else {}
    return problem(exc.status, detail, code=HTTPStatus(exc.status).name.lower(), headers=allow)


def _of_a_bug(exc: Exception) -> web.Response:
    # The message may quote a file name or a contract; frames and class are enough to find the fault.
    error_id = new_id("error")
    frames = "".join(traceback.format_tb(exc.__traceback__))
    log.error("request failed", error_id=error_id, error_class=type(exc).__name__, frames=frames)
    detail = f"something went wrong on this side: quote {error_id}, it leads to the entry in the server's log"
    return problem(500, detail, code="internal", error_id=error_id)


def to_response(exc: Exception) -> web.Response:
    """The answer to a request that ended in ``exc``.

    >>> response = to_response(errors.NotFound("there is no task task-1"))
    >>> response.status, response.text
    (404, '{"type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is no task task-1", \
"code": "not_found"}')
    """
    if isinstance(exc, web.HTTPException):
        return _of_aiohttp(exc)
    for cls in type(exc).__mro__:
        if cls in _STATUS:
            return _of_ours(exc, _STATUS[cls])
    return _of_a_bug(exc)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as a problem document."""
    try:
        return await handler(request)
    except ConnectionError:
        raise  # the client has gone: there is nobody to answer
    except Exception as exc:
        if request.writer.output_size:
            # The answer is half sent: cut the connection, for an orderly end would pass for the whole of it.
            _log_cut(exc)
            raise ConnectionAbortedError("the response broke off") from exc
        if isinstance(exc, web.HTTPException) and exc.status < HTTPStatus.BAD_REQUEST:
            raise
        return to_response(exc)


def _log_cut(exc: Exception) -> None:
    fields: dict[str, Any] = {"error_class": type(exc).__name__}
    if not isinstance(exc, errors.JobqueueError):
        fields["frames"] = "".join(traceback.format_tb(exc.__traceback__))
    log.error("response broke off", **fields)
