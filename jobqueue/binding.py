"""Between the engine, which passes plain arguments, and handlers of declared job types (`jobqueue.typed`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

from jobqueue.errors import ConfigError, InvalidInput
from jobqueue.typed import Task

Handler = Callable[..., Coroutine[Any, Any, Any]]


def task_taken(handler: Handler) -> type[Task[Any]] | None:
    """The task class that a handler takes after ``ctx``; None when it takes plain arguments.

    Raises:
        ConfigError: the annotation of that parameter can't be read.
    """
    parameters = list(inspect.signature(handler).parameters.values())[1:2]
    if not parameters or parameters[0].kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return None
    try:
        hint = get_type_hints(handler).get(parameters[0].name)
    except NameError as exc:
        raise ConfigError(f"handler {handler.__qualname__}: {exc}: import what annotates it at run time too") from exc
    return hint if isinstance(hint, type) and issubclass(hint, Task) else None


def bind(handler: Handler, task: type[Task[Any]]) -> Handler:
    """What the engine calls for a handler: it validates the payload, and makes the declared result plain data.

    The handler is given the task itself where its annotation says so, else the task's fields as keyword arguments;
    fields of a newer version that it can't know are left out then.

    Raises (what is returned):
        InvalidInput: payload or result isn't as declared; names each field with the reason.
    """
    declared, whole = task.declared, task_taken(handler) is not None

    @functools.wraps(handler)
    async def run(ctx: dict[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise InvalidInput(f"{declared.function!r} takes its arguments by name: enqueue it with keyword arguments")
        version = (ctx.get("meta") or {}).get("v", 1)
        payload = task.from_payload(kwargs, version=version)
        value = await (handler(ctx, payload) if whole else handler(ctx, **dict(payload)))
        return declared.plain_result(value)

    return run
