"""Job types with a declared payload and a declared result: `Task`.

    class AnalyzeContract(Task[AnalysisOutcome], queue="llm", function="analyse_contract", version=2, upgrades={1: f}):
        tenant_id: TenantId
        contract_id: ContractId

    handle = await client.enqueue(AnalyzeContract(tenant_id="acme", contract_id="contract-1"))
    outcome = await handle.result()  # an AnalysisOutcome, to a type checker as well

A payload crosses Redis as plain keyword arguments, so that plain clients write, and people read, the same thing; the
version of its schema stands beside them, as ``v`` of the metadata. What carries none is of version 1: a plain client
that was written against the first version goes on working, whatever became of the schema since.

Strict where it is written, tolerant where it is read: a field that nobody knows is a spelling mistake in a constructor,
and the work of a newer version on a queue. There it is kept, and goes on with the task when that is enqueued again.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    PrivateAttr,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import to_jsonable_python

from jobqueue.errors import InvalidInput, UnreadablePayload

ResultT = TypeVar("ResultT")
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the payload of one version that of the next. It gets a copy of its own."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_FAULTS: Final = 10
_SECRETS: Final = (SecretStr, SecretBytes, Secret)
_SECRET_NAME: Final = re.compile(r"pass(?:word|phrase)|secret|credential|api_?key|(?:^|_)token$", re.IGNORECASE)
_MASK: Final = "**********"  # as pydantic shows a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a task class says of its job type.

    Attributes:
        queue: short name.
        function: the name under which workers know it.
        version: of the payload's schema, from 1 on.
        upgrades: version -> what makes its payload one of the next; without gaps up to ``version``.
        result: reads and writes the declared result.
    """

    queue: str
    function: str
    version: int
    upgrades: Mapping[int, Upgrade]
    result: TypeAdapter[Any]

    def plain_result(self, value: Any) -> Any:
        """A handler's answer as plain data. Secrets in it are masked: a result is no place for them.

        Raises:
            InvalidInput: it is not what the task declares.
        """
        try:
            return self.result.dump_python(self.result.validate_python(value), mode="json")
        except ValidationError as exc:
            raise InvalidInput(f"the result of {self.function!r} isn't what it declares: {_faults(exc)}") from None
        except ValueError as exc:
            raise InvalidInput(f"the result of {self.function!r} isn't plain data: {exc}") from None

    def read_result(self, value: Any) -> Any:
        """The inverse of `plain_result`.

        Raises:
            UnreadablePayload: a worker of another version gave something else.
        """
        try:
            return self.result.validate_python(value)
        except ValidationError as exc:
            raise UnreadablePayload(
                f"the result of {self.function!r} isn't what this process declares ({_faults(exc)}): bring the "
                "declarations of both sides to one version"
            ) from None


class Task(BaseModel, Generic[ResultT]):
    """Base of all payloads. A subclass names its queue and function, its fields are the arguments.

    Immutable. The constructor raises pydantic's ``ValidationError``, whose text shows no values. Fields of pydantic's
    secret types cross as they are, but no error names what is in them.

    >>> class Greet(Task[str], queue="demo", function="greet"):
    ...     name: str
    >>> Greet(name="Ada").to_payload(), Greet.from_payload({"name": "Ada", "tone": "warm"}).to_payload()
    ({'name': 'Ada'}, {'name': 'Ada', 'tone': 'warm'})
    >>> Greet.from_payload({"name": 7})
    Traceback (most recent call last):
        ...
    jobqueue.errors.InvalidInput: the payload of 'greet' doesn't fit: name: Input should be a valid string
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    declared: ClassVar[Declaration]
    _unknown: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init_subclass__(
        cls,
        *,
        queue: str | None = None,
        function: str | None = None,
        version: int = 1,
        upgrades: Mapping[int, Upgrade] | None = None,
        **config: Any,
    ) -> None:
        super().__init_subclass__(**config)
        if queue is None and function is None:
            return  # a base of others, or a parametrised form of one
        if not (queue and function and _NAME.fullmatch(queue) and _NAME.fullmatch(function)):
            raise TypeError(f"{cls.__name__}: declare both queue and function, in lower case, digits and underscores")
        steps = dict(upgrades or {})
        if version < 1 or sorted(steps) != list(range(version - len(steps), version)) or 0 in steps:
            raise TypeError(
                f"{cls.__name__}: upgrades must lead to version {version} without a gap, from 1 or later on"
            )
        cls.declared = Declaration(
            queue=queue,
            function=function,
            version=version,
            upgrades=MappingProxyType(steps),
            result=TypeAdapter(_result_type(cls)),
        )

    @classmethod
    def from_payload(cls, data: Mapping[str, Any], *, version: int = 1) -> Self:
        """Bring keyword arguments from a queue to this version, and validate them.

        Raises:
            InvalidInput: they don't fit, or their version is newer than this one or no longer read. The message names
                each field with the reason, and shows nothing of secret fields.
        """
        upgraded = _upgraded(cls.declared, data, version)
        known = {name: value for name, value in upgraded.items() if name in cls.model_fields}
        try:
            task = cls.model_validate(known)
        except ValidationError as exc:  # not as the cause, whose text a dead letter would keep
            faults = _faults(exc, cls)
            raise InvalidInput(f"the payload of {cls.declared.function!r} doesn't fit: {faults}") from None
        task._unknown = {name: value for name, value in upgraded.items() if name not in known}  # noqa: SLF001  # ours
        return task

    def to_payload(self) -> dict[str, Any]:
        """The keyword arguments that cross Redis: plain data, unknown fields of a newer version among them.

        Raises:
            InvalidInput: a value is not plain data, or no worker could read it back.
        """
        try:
            plain = to_jsonable_python(_revealed(self.model_dump(warnings=False)))
        except ValueError as exc:
            raise InvalidInput(f"the payload of {self.declared.function!r} isn't plain data: {exc}") from None
        type(self).from_payload(plain, version=self.declared.version)
        return {**plain, **self._unknown}


def masked(arguments: Any) -> Any:
    """Arguments of a job as people may see them: what goes by a secret's name is asterisks, at any depth.

    By names, since who shows a dead letter may not know the declaration of its job type.

    >>> masked({"file_id": "file-1", "password": "hunter2", "tries": [{"api_key": "k"}], "token": None})
    {'file_id': 'file-1', 'password': '**********', 'tries': [{'api_key': '**********'}], 'token': None}
    """
    match arguments:
        case dict():
            return {
                name: _MASK if part is not None and _SECRET_NAME.search(str(name)) else masked(part)
                for name, part in arguments.items()
            }
        case list() | tuple():
            return [masked(part) for part in arguments]
    return arguments


def _result_type(task: type[Task[Any]]) -> Any:
    """What stands in the brackets of ``Task[...]``; anything where that was left out."""
    for base in task.__mro__:
        generic = getattr(base, "__pydantic_generic_metadata__", None) or {}
        if generic.get("args") and issubclass(base, Task) and not isinstance(generic["args"][-1], TypeVar):
            return generic["args"][-1]
    return Any


def _upgraded(declared: Declaration, data: Mapping[str, Any], version: int) -> Mapping[str, Any]:
    if version == declared.version:
        return data
    about = f"the payload of {declared.function!r} is of version {version}"
    if version > declared.version:
        raise InvalidInput(f"{about}, and only {declared.version} is known here: deploy the newer program, then replay")
    if version not in declared.upgrades:
        oldest = min(declared.upgrades, default=declared.version)
        raise InvalidInput(f"{about}, and versions below {oldest} are no longer read: enqueue it anew")
    upgraded = copy.deepcopy(dict(data))
    for step in range(version, declared.version):
        try:
            upgraded = declared.upgrades[step](upgraded)
        except Exception as exc:  # noqa: BLE001  # whatever it stumbles over, it is this payload that can't be upgraded
            # Only the class: the text may quote a secret.
            raise InvalidInput(f"{about}, and its upgrade from version {step} fails: {type(exc).__name__}") from None
    return upgraded


def _faults(error: ValidationError, task: type[Task[Any]] | None = None) -> str:
    """Each field with what is wrong with it; of secret fields the kind of fault alone."""
    fields = {name: field.annotation for name, field in task.model_fields.items()} if task else {}
    secret = {name for name, annotation in fields.items() if _holds_secret(annotation)}
    told = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_FAULTS]:
        first = fault["loc"][0] if fault["loc"] else None
        if first in secret or (secret and first is None):
            told.append(f"{first or 'as a whole'}: {fault['type']}")
        else:
            where = ".".join(str(part)[:80] for part in fault["loc"]) or "as a whole"
            told.append(f"{where}: {fault['msg']}")
    return "; ".join(told)


def _holds_secret(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, _SECRETS):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        inner = [field.annotation for field in annotation.model_fields.values()]
        return any(_holds_secret(part, seen | {annotation}) for part in inner)
    return any(
        _holds_secret(part, seen) for part in (get_origin(annotation), *get_args(annotation)) if part is not None
    )


def _revealed(value: Any) -> Any:
    """A dumped model with what is in its secrets, which pydantic writes as asterisks."""
    match value:
        case SecretStr() | SecretBytes() | Secret():
            return value.get_secret_value()
        case dict():
            return {name: _revealed(part) for name, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_revealed(part) for part in value]
    return value
