"""Somebody at a terminal: runs the project's commands as they are typed, in a directory of their own."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

SERVICES = {
    "jobqueue up": "http://",
    "jobqueue serve": "http://",
    "arq jobqueue.worker.IngestSettings": "Starting worker",
    "jobqueue worker ocr llm": "Starting worker",
    "jobqueue worker --all": "Starting worker",
}
"""Commands that stay, and what they print once they are up."""


@dataclass
class Reader:
    """Runs command lines with ``home`` as working directory; its services keep their data below it."""

    home: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "JOBQUEUE_DATA_DIR": str(self.home / "data"),
            "JOBQUEUE_PORT": "0",
        }

    async def start(self, line: str, *, errors: int) -> asyncio.subprocess.Process:
        directory = ROOT if line.startswith("bin/") else self.home
        return await asyncio.create_subprocess_exec(
            *shlex.split(line), cwd=directory, env=self.environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip

    async def run(self, line: str, *, code: int = 0) -> str:
        process = await self.start(line, errors=asyncio.subprocess.PIPE)
        out, err = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == code, f"{line}: {out.decode()}{err.decode()}"
        return out.decode()

    @asynccontextmanager
    async def service(self, line: str) -> AsyncIterator[None]:
        process = await self.start(line, errors=asyncio.subprocess.STDOUT)
        assert process.stdout is not None
        said = b""
        try:
            async with asyncio.timeout(60):
                while SERVICES[line].encode() not in said:
                    more = await process.stdout.readline()
                    assert more, f"{line} ended: {said.decode()}"
                    said += more
            yield
        finally:
            process.send_signal(signal.SIGINT)
            _, left = await asyncio.gather(process.wait(), process.stdout.read())
        assert process.returncode in {0, 130}, f"{line}: {said.decode()}{left.decode()}"
