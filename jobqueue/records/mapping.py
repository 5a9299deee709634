"""Rows to the frozen dataclasses of `jobqueue.ports`, and back.

A dataclass and its table have the same names, so only the columns that hold models need saying.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from sqlalchemy import RowMapping

from jobqueue.tasks import Analysis, DocumentInfo, Extraction, Scan, Summary, Usage

Record = TypeVar("Record")


def _usages(data: Mapping[str, Any]) -> dict[str, Usage]:
    return {step: Usage.model_validate(usage) for step, usage in data.items()}


_MODELS: Final[dict[str, Callable[[Any], Any]]] = {
    "info": DocumentInfo.model_validate,
    "scan": Scan.model_validate,
    "extraction": Extraction.model_validate,
    "summary": Summary.model_validate,
    "analysis": Analysis.model_validate,
    "usage": _usages,
}


def plain(value: Any) -> Any:
    """A field's value as a column takes it: models and mappings of models become plain data.

    >>> plain({"ocr": Usage(provider="offline", model="rules-1", seconds=0.5)})["ocr"]["seconds"]
    0.5
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def to_row(record: Any) -> dict[str, Any]:
    """The row of a dataclass of `jobqueue.ports`."""
    return {field.name: plain(getattr(record, field.name)) for field in dataclasses.fields(record)}


def from_row(kind: type[Record], row: RowMapping) -> Record:
    """The dataclass ``kind`` of a row; columns it doesn't have are left out."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # every kind is a dataclass
    return kind(**{name: _model(name, row[name]) for name in names})


def _model(name: str, value: Any) -> Any:
    return _MODELS[name](value) if value is not None and name in _MODELS else value
