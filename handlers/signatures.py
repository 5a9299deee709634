"""A PDF's signatures checked in the sandbox: whatever a hostile one does there, the file itself goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from jobqueue.errors import JobFailed, LimitExceeded, RejectedFile, SandboxCrashed
from jobqueue.ports import Limits, Services
from jobqueue.tasks import DocumentInfo, FileSignature

CHECK_LIMITS: Final = Limits(wall_s=30.0, cpu_s=30, memory_bytes=1_000_000_000)
_UNCHECKED: Final = "it could not be checked"


async def checked(world: Services, path: Path, info: DocumentInfo, password: str | None) -> DocumentInfo:
    """``info`` with what a check of its signatures found, and warnings of those that don't hold.

    Raises `Unavailable` where the sandbox can't be used at all.
    """
    if not info.signatures:
        return info
    try:
        found = await world.sandbox.run(
            "handlers.documents.pdf_signatures:check",
            str(path),
            roots_pem=world.signature_roots_pem,
            password=password,
            limits=CHECK_LIMITS,
        )
        problem = _UNCHECKED
    except (LimitExceeded, RejectedFile, SandboxCrashed, JobFailed) as exc:
        found, problem = [], f"{_UNCHECKED}: {exc}"[:200]
    by_field = {verdict["field"]: verdict for verdict in found}
    signatures = [
        FileSignature.model_validate(one.model_dump() | by_field.get(one.field, {"problem": problem}))
        for one in info.signatures
    ]
    return info.model_copy(update={"signatures": signatures, "warnings": [*info.warnings, *warnings(signatures)]})


def warnings(signatures: Sequence[FileSignature]) -> Iterator[str]:
    """What a person should know of signatures that don't hold, or can't be relied on.

    >>> stated = {"signer": "", "reason": "", "signed_at": "", "format": "", "covers_whole_file": True}
    >>> list(warnings([FileSignature(field="Seller", intact=False, **stated)]))
    ["The signature 'Seller' is broken: what it covers was changed after it was signed."]
    """
    for one in signatures:
        which = f"The signature {one.field!r}"
        if one.problem:
            added = "" if one.covers_whole_file else ", and it doesn't cover all of the file"
            yield f"{which} could not be checked{added}."
        elif not one.intact:
            yield f"{which} is broken: what it covers was changed after it was signed."
        elif one.changes == "suspicious" or one.coverage in {"part", "unclear"}:
            yield f"{which} doesn't cover all of the file, which was changed afterwards in a way that isn't allowed."
        elif one.trusted is False:
            yield f"{which} is intact, but no authority that is trusted here vouches for its signer."
