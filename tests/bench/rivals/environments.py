"""Each contender's own environment: a venv or Node's modules, in a cache directory, pinned by files beside this one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.bench.rivals.roster import OURS, Contender

HERE: Final = Path(__file__).parent
_INSTALL_S: Final = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An installed contender."""

    contender: Contender
    directory: Path
    version: str

    def command(self, verb: str) -> list[str | Path]:
        """How its adapter is started."""
        name = self.contender.name
        if self.contender.node:
            return ["node", HERE / "adapters" / f"{name}.mjs", verb]
        python = sys.executable if name == OURS else self.directory / "bin" / "python"
        return [python, "-m", f"tests.bench.rivals.adapters.{name}", verb]


class NotInstalled(Exception):
    """Why a contender can't take part."""


def cache() -> Path:
    """Where the environments are kept: ``$JOBQUEUE_RIVALS_DIR``, or the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("JOBQUEUE_RIVALS_DIR") or Path(base) / "jobqueue-rivals")


async def prepare(contender: Contender) -> Environment:
    """The contender's environment, installed unless it is there. Raises `NotInstalled`."""
    if contender.name == OURS:
        return Environment(contender=contender, directory=Path(sys.prefix), version=version("jobqueue"))
    pins = HERE / ("package.json" if contender.node else f"requirements-{contender.name}.txt")
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    directory = cache() / f"{contender.name}-{digest}"
    if not (directory / "complete").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        await (_install_node if contender.node else _install_python)(directory, pins)
        (directory / "complete").touch()
    return Environment(contender=contender, directory=directory, version=await _version(contender, directory))


async def _install_python(directory: Path, pins: Path) -> None:
    await asyncio.to_thread(venv.create, directory, with_pip=True)
    await _run(directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--requirement", pins)


async def _install_node(directory: Path, pins: Path) -> None:
    if not shutil.which("node") or not shutil.which("npm"):
        raise NotInstalled("Node and npm aren't here")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(pins.with_name(name), directory)
    await _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=directory)


async def _version(contender: Contender, directory: Path) -> str:
    code = (
        ("node", "-p", f"require('{directory}/node_modules/{contender.package}/package.json').version")
        if contender.node
        else (
            *(directory / "bin" / "python", "-c"),
            f"from importlib.metadata import version; print(version('{contender.package}'))",
        )
    )
    return (await _run(*code)).strip()


async def _run(*command: str | Path, cwd: Path | None = None) -> str:
    try:
        async with asyncio.timeout(_INSTALL_S):
            process = await asyncio.create_subprocess_exec(
                *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NotInstalled(f"its installation took more than {_INSTALL_S:.0f} s") from None
    if process.returncode:
        lines = err.decode(errors="replace").strip().splitlines()
        raise NotInstalled(lines[-1][:200] if lines else f"its installation failed with status {process.returncode}")
    return out.decode()
