"""Declared payloads and results: what is refused, upgraded, kept, and never told."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, Secret, SecretBytes, SecretStr, ValidationError, model_validator

from jobqueue.errors import InvalidInput, UnreadablePayload
from jobqueue.job import decode, encode
from jobqueue.typed import Task

PASSWORD = "correct horse battery staple"


class Outcome(BaseModel):
    pages: int
    read_at: datetime


class Read(Task[Outcome], queue="demo", function="read"):
    file_id: str = Field(max_length=10)
    pages: list[int] = Field(default=[1])
    password: SecretStr | None = None


class Colour(StrEnum):
    RED = "red"


class Everything(Task[None], queue="demo", function="everything"):
    at: datetime
    price: Decimal
    ref: UUID
    colour: Colour
    marks: set[int]


def times(data: dict[str, Any]) -> dict[str, Any]:
    return {"wait_ms": data.pop("wait_s") * 1000, **data}


def named(data: dict[str, Any]) -> dict[str, Any]:
    data["options"]["name"] = data.pop("name")  # in place: the upgrade gets a copy of its own
    return data


class Third(Task[None], queue="demo", function="third", version=3, upgrades={1: times, 2: named}):
    wait_ms: int
    options: dict[str, str]


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_field_that_is_wrong_missing_or_unknown_is_refused_at_once() -> None:
    for arguments in ({"file_id": "file-1" * 10}, {}, {"file_id": "file-1", "page": [2]}):
        with pytest.raises(ValidationError):
            Read(**arguments)


def test_what_pydantic_can_write_crosses_as_plain_data_and_comes_back_the_same() -> None:
    task = Everything(
        at=datetime(2026, 3, 1, tzinfo=UTC), price=Decimal("2.50"), ref=UUID(int=7), colour=Colour.RED, marks={3}
    )
    crossed = decode(encode(task.to_payload()))
    assert crossed == {
        "at": "2026-03-01T00:00:00Z", "price": "2.50", "ref": str(UUID(int=7)), "colour": "red", "marks": [3],
    }  # fmt: skip
    assert Everything.from_payload(crossed) == task


def test_a_list_changed_after_its_validation_is_refused_when_it_is_written() -> None:
    task = Read(file_id="file-1")
    task.pages.append("two")  # type: ignore[arg-type]  # the point
    with pytest.raises(InvalidInput, match=r"pages\.1"):
        task.to_payload()


def test_bytes_that_are_no_text_are_refused_with_the_job_type() -> None:
    class Raw(Task[None], queue="demo", function="raw"):
        data: bytes

    with pytest.raises(InvalidInput, match="'raw' isn't plain data"):
        Raw(data=b"\xff").to_payload()


@pytest.mark.parametrize(
    "declaration",
    [
        {"queue": "demo"},
        {"function": "f"},
        {"queue": "demo-1", "function": "f"},
        {"queue": "demo", "functoin": "f"},
        {"queue": "demo", "function": "not a name"},
        {"queue": "demo", "function": "f", "version": 0},
        {"queue": "demo", "function": "f", "version": 3, "upgrades": {1: dict}},
        {"queue": "demo", "function": "f", "version": 3, "upgrades": {1: dict, 3: dict}},
        {"queue": "demo", "function": "f", "version": 1, "upgrades": {0: dict}},
    ],
)
def test_a_declaration_with_a_gap_is_refused_where_the_class_is_made(declaration: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Bad"):
        type("Bad", (Task,), {}, **declaration)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_does_not_fit_is_told_by_field_and_reason() -> None:
    with pytest.raises(InvalidInput) as caught:
        Read.from_payload({"file_id": 7, "pages": [1, "x"]})
    told = str(caught.value)
    assert told.startswith("the payload of 'read' doesn't fit: file_id: Input should be a valid string; pages.1: ")


def test_fields_of_a_newer_version_survive_a_round_trip() -> None:
    sent = {"file_id": "file-1", "pages": [1], "password": None, "tone": {"kind": "new"}}
    assert Read.from_payload(sent).to_payload() == sent


def test_an_older_payload_is_upgraded_step_by_step_and_the_original_left_alone() -> None:
    first = {"wait_s": 2, "name": "a", "options": {}}
    assert Third.from_payload(first) == Third(wait_ms=2000, options={"name": "a"})
    assert first == {"wait_s": 2, "name": "a", "options": {}}
    assert Third.from_payload({"wait_ms": 5, "name": "b", "options": {}}, version=2).wait_ms == 5
    assert Third.from_payload({"wait_ms": 5, "options": {}}, version=3).options == {}


def test_a_version_that_is_newer_or_no_longer_read_is_refused_with_what_to_do() -> None:
    class Fifth(Task[None], queue="demo", function="fifth", version=5, upgrades={4: dict}):
        pass

    with pytest.raises(InvalidInput, match="of version 6, and only 5 is known here: deploy"):
        Fifth.from_payload({}, version=6)
    with pytest.raises(InvalidInput, match="of version 3, and versions below 4 are no longer read"):
        Fifth.from_payload({}, version=3)


def test_an_upgrade_that_fails_is_told_without_the_values_it_met() -> None:
    def broken(data: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(data["password"])

    class Second(Task[None], queue="demo", function="second", version=2, upgrades={1: broken}):
        password: SecretStr

    with pytest.raises(InvalidInput, match="its upgrade from version 1 fails: ValueError") as caught:
        Second.from_payload({"password": PASSWORD})
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_secret_crosses_as_it_is_and_is_shown_nowhere_else() -> None:
    task = Read(file_id="file-1", password=SecretStr(PASSWORD))
    assert task.to_payload()["password"] == PASSWORD
    assert Read.from_payload(task.to_payload()).password == SecretStr(PASSWORD)
    assert PASSWORD not in f"{task!r} {task.model_dump_json()}"


class Inner(BaseModel):
    pin: SecretBytes = Field(max_length=3)


class Vault(Task[None], queue="demo", function="vault"):
    inner: list[Inner] = Field(default=[])
    by_name: dict[str, Secret[int]] = Field(default={})
    plain: int = 0

    @model_validator(mode="after")
    def check(self) -> Vault:
        if self.plain == 13:
            raise ValueError(PASSWORD)
        return self


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"inner": [{"pin": PASSWORD}]}, "inner: too_long"),
        ({"by_name": {PASSWORD: PASSWORD}}, "by_name: int_parsing"),
        ({"plain": 13}, "as a whole: value_error"),
        ({"plain": "x"}, "plain: Input should be a valid integer, unable to parse string as an integer"),
    ],
)
def test_no_error_tells_what_is_in_a_secret_field(payload: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Vault.from_payload(payload)
    assert str(caught.value) == f"the payload of 'vault' doesn't fit: {told}"
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_the_text_of_a_refused_construction_shows_no_values() -> None:
    with pytest.raises(ValidationError) as caught:
        Vault(inner=[Inner.model_construct(pin=PASSWORD)], by_name=PASSWORD)  # type: ignore[arg-type]  # the point
    assert PASSWORD not in str(caught.value)


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_result_crosses_as_plain_data_and_comes_back_as_declared() -> None:
    outcome = Outcome(pages=2, read_at=datetime(2026, 3, 1, tzinfo=UTC))
    crossed = Read.declared.plain_result(outcome)
    assert crossed == {"pages": 2, "read_at": "2026-03-01T00:00:00Z"}
    assert Read.declared.plain_result({"pages": 2, "read_at": outcome.read_at}) == crossed
    assert Read.declared.read_result(decode(encode(crossed))) == outcome


def test_a_result_that_is_not_as_declared_is_refused_on_either_side() -> None:
    with pytest.raises(InvalidInput, match="the result of 'read' isn't what it declares: read_at: Field required"):
        Read.declared.plain_result({"pages": 2})
    with pytest.raises(InvalidInput, match="the result of 'everything' isn't what it declares: as a whole: "):
        Everything.declared.plain_result(7)
    with pytest.raises(UnreadablePayload, match="the result of 'read' isn't what this process declares"):
        Read.declared.read_result({"pages": "many"})


ValueT = TypeVar("ValueT")


class ForTenant(Task[ValueT], Generic[ValueT]):
    tenant_id: str


class Count(ForTenant[list[int]], queue="demo", function="count"):
    upto: int


def test_a_base_of_several_tasks_hands_its_fields_and_its_result_on() -> None:
    assert Count(tenant_id="acme", upto=2).to_payload() == {"tenant_id": "acme", "upto": 2}
    assert Count.declared.read_result(["1", 2]) == [1, 2]
