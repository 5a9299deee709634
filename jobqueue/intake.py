"""The rows of a task that is taken in, the same whether it was uploaded or came out of another file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from jobqueue.flows import Flow
from jobqueue.ports import AuditEntry, ContractRecord, TaskRecord, UnitOfWork

ACCEPTED: Final = "accepted"


async def add_contract(unit: UnitOfWork, flow: Flow, *, file_id: str, contract_id: str) -> None:
    """The contract that a flow is about to read out of a file."""
    await unit.add_contract(
        ContractRecord(id=contract_id, tenant_id=flow.tenant_id, file_id=file_id, created_at=flow.created_at)
    )


async def add_task(unit: UnitOfWork, flow: Flow, *, file_id: str, contract_id: str, actor: str) -> None:
    """A flow as the task that it is to people, and who submitted it."""
    await unit.add_task(
        TaskRecord(
            id=flow.id, tenant_id=flow.tenant_id, kind=flow.kind, state=ACCEPTED, created_at=flow.created_at,
            file_id=file_id, contract_id=contract_id, spec=flow.to_data(),
        )
    )  # fmt: skip
    await unit.audit(
        AuditEntry(
            tenant_id=flow.tenant_id, actor=actor, action="task.submit", subject=flow.id, at=datetime.now(UTC),
            detail={"kind": flow.kind, "file": file_id, "contract": contract_id},
        )
    )  # fmt: skip
