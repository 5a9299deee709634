"""Real Sentinel and Cluster set-ups on loopback ports, whose servers can be killed and started again.

The `EmbeddedRedis` server's own program plays every part; Sentinel is the same program in another mode.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.utils import str_if_bytes

from jobqueue.broker.embedded import find_server
from tests.engine_support import wait_until

SERVICE: Final = "mymaster"
SLOTS: Final = 16384
DOWN_AFTER_MS: Final = 1000
_START_S: Final = 30.0
_FAILOVER_S: Final = 60.0


def free_ports(count: int) -> list[int]:
    """Ports that are free now, no two alike."""
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


@dataclass(slots=True)
class Node:
    """One server program on 127.0.0.1, with a directory of its own that outlives its process."""

    directory: Path
    port: int
    options: Sequence[str] = ()
    password: str | None = None
    sentinel: bool = False
    process: asyncio.subprocess.Process | None = None

    async def start(self, *more: str) -> None:
        """Start the process, and return when it answers (it may still be loading or synchronising)."""
        with (self.directory / "server.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(find_server()), *self._arguments(), *more, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        await wait_until(self.answers, within_s=_START_S, what=f"the server on port {self.port}")

    def _arguments(self) -> list[str]:
        if self.sentinel:
            return [str(self.directory / "sentinel.conf"), "--sentinel"]
        secret = ("--requirepass", self.password, "--primaryauth", self.password) if self.password else ()
        return [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"),
            *secret, *self.options,
        ]  # fmt: skip

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def call(self, *command: str | int) -> Any:
        """One command on a connection of its own."""
        async with Redis(port=self.port, password=self.password, socket_connect_timeout=1, socket_timeout=5) as redis:
            return await redis.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py

    async def answers(self) -> bool:
        assert self.alive, f"the server on port {self.port} ended; its log is in {self.directory}"
        with suppress(RedisError, OSError):
            return bool(await self.call("PING"))
        return False

    async def is_primary(self) -> bool:
        """Whether it takes itself for a primary; False while it doesn't answer."""
        with suppress(RedisError, OSError):
            return self.alive and (await self.call("ROLE"))[0] == b"master"
        return False

    async def follows(self, primary: Node) -> bool:
        """Whether it is a replica of that one which has all data; a primary alone calls it online before that."""
        with suppress(RedisError, OSError):
            info = await self.call("INFO", "replication") if self.alive else {}
            return info.get("master_port") == primary.port and info.get("master_link_status") == "up"
        return False


@dataclass(slots=True)
class Topology:
    """Servers that replace a dead primary by themselves.

    Attributes:
        url: as JOBQUEUE_REDIS_URL has it.
        data: the servers that hold data.
    """

    url: str
    data: list[Node]
    others: list[Node] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for node in [*self.others, *self.data]:
            await node.kill()

    async def primary(self, key: str = "") -> Node:
        """The primary, as those say who decide it; on a Cluster, the one that holds ``key``."""
        raise NotImplementedError

    async def replace(self, old: Node, change: Callable[[], Any], key: str = "") -> Node:
        """Make a change that costs ``old`` its place; the new primary once it serves."""
        await change()

        async def replaced() -> bool:
            with suppress(RedisError, OSError, LookupError):
                new = await self.primary(key)
                return new is not old and await new.is_primary()
            return False

        await wait_until(replaced, within_s=_FAILOVER_S, what="the failover")
        return await self.primary(key)

    async def kill_primary(self, key: str = "") -> tuple[Node, Node]:
        """SIGKILL the primary and wait for the next one: (dead, new)."""
        old = await self.primary(key)
        return old, await self.replace(old, old.kill, key)

    async def hand_over(self, key: str = "", *, coordinated: bool = True) -> Node:
        """The planned failover, as an operator orders it; the new primary.

        ``coordinated``: the old primary waits for its successor, and takes no writes meanwhile. A Cluster always does.
        """
        raise NotImplementedError

    async def bring_back(self, dead: Node, key: str = "") -> None:
        """Start a dead server again, as a replica."""
        raise NotImplementedError

    async def settled(self, key: str = "", *, replicas: int = 1) -> None:
        """Return when that many replicas follow the primary."""

        async def followed() -> bool:
            with suppress(RedisError, OSError, LookupError):
                primary = await self.primary(key)
                return sum([await node.follows(primary) for node in self.data]) >= replicas
            return False

        await wait_until(followed, within_s=_FAILOVER_S, what=f"{replicas} replicas")


class SentinelTopology(Topology):
    """One primary, two replicas, three Sentinels."""

    async def primary(self, key: str = "") -> Node:
        for sentinel in self.others:
            if sentinel.alive:
                address = await sentinel.call("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
                return next(node for node in self.data if node.port == int(address[1]))
        raise LookupError("no Sentinel lives")

    async def bring_back(self, dead: Node, key: str = "") -> None:
        await dead.start("--replicaof", "127.0.0.1", str((await self.primary()).port))

    async def hand_over(self, key: str = "", *, coordinated: bool = True) -> Node:
        old = await self.primary()

        async def ordered() -> bool:
            for sentinel in self.others:
                with suppress(RedisError, OSError):  # INPROG, NOGOODSLAVE: not yet
                    return bool(await sentinel.call("SENTINEL FAILOVER", SERVICE, *(["COORDINATED"] * coordinated)))
            return False

        return await self.replace(old, lambda: wait_until(ordered, within_s=_FAILOVER_S, what="the order"))


class ClusterTopology(Topology):
    """Three primaries with one replica each."""

    async def primary(self, key: str = "") -> Node:
        for node in self.data:
            if node.alive:
                slot = int(await node.call("CLUSTER KEYSLOT", key))
                if (owner := _owner(await node.call("CLUSTER NODES"), slot)) is not None:
                    return next(node for node in self.data if node.port == owner)
        raise LookupError(f"nobody owns the slot of {key}")

    async def bring_back(self, dead: Node, key: str = "") -> None:
        await dead.start()  # it learns from the others that its slots are another's now

    async def hand_over(self, key: str = "", *, coordinated: bool = True) -> Node:
        old = await self.primary(key)
        mine = str_if_bytes(await old.call("CLUSTER MYID"))

        async def ordered() -> bool:
            for node in self.data:
                with suppress(RedisError, OSError):
                    if node.alive and (await node.call("CLUSTER NODES"))[_address(node)]["master_id"] == mine:
                        return bool(await node.call("CLUSTER FAILOVER"))
            return False

        return await self.replace(old, lambda: wait_until(ordered, within_s=_FAILOVER_S, what="the order"), key)


def _address(node: Node) -> str:
    return f"127.0.0.1:{node.port}"


def _owner(nodes: dict[str, Any], slot: int) -> int | None:
    """The port of the healthy primary that serves a slot, by ``CLUSTER NODES``."""
    for address, node in nodes.items():
        ranges = [(int(span[0]), int(span[-1])) for span in node["slots"]]
        if "master" in node["flags"] and "fail" not in node["flags"] and any(a <= slot <= b for a, b in ranges):
            return int(address.rpartition(":")[2])
    return None


def _nodes(directory: Path, names: Sequence[str], **arguments: Any) -> list[Node]:
    for name in names:
        (directory / name).mkdir(parents=True)
    return [Node(directory / name, port, **arguments) for name, port in zip(names, free_ports(len(names)), strict=True)]


@asynccontextmanager
async def sentinel(
    directory: Path, *, password: str | None = None, sentinel_password: str | None = None
) -> AsyncIterator[SentinelTopology]:
    """A Sentinel set-up; with passwords where they are given."""
    data = _nodes(directory, ("data-1", "data-2", "data-3"), password=password)
    guards = _nodes(directory, ("sentinel-1", "sentinel-2", "sentinel-3"), password=sentinel_password, sentinel=True)
    secret = f":{password}@" if password else ""
    query = f"?sentinel_password={sentinel_password}" if sentinel_password else ""
    hosts = ",".join(_address(guard) for guard in guards)
    async with SentinelTopology(f"redis+sentinel://{secret}{hosts}/{SERVICE}{query}", data, guards) as topology:
        await data[0].start()
        for replica in data[1:]:
            await replica.start("--replicaof", "127.0.0.1", str(data[0].port))
        for guard in guards:
            lines = [
                f"port {guard.port}", "bind 127.0.0.1", f"dir {guard.directory}",
                f"sentinel monitor {SERVICE} 127.0.0.1 {data[0].port} 2",
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
                f"sentinel failover-timeout {SERVICE} 3000",
                *([f"sentinel auth-pass {SERVICE} {password}"] if password else []),
                *([f"requirepass {sentinel_password}", f"sentinel sentinel-pass {sentinel_password}"]
                  if sentinel_password else []),
            ]  # fmt: skip
            (guard.directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
            await guard.start()
        await wait_until(lambda: _all_known(guards), within_s=_START_S, what="Sentinels that know each other")
        await topology.settled(replicas=2)
        yield topology


async def _all_known(guards: Sequence[Node]) -> bool:
    """Whether each Sentinel knows the other two and both replicas; until then none would win an election."""
    for guard in guards:
        raw = await guard.call("SENTINEL MASTER", SERVICE)
        if raw["num-other-sentinels"] != len(guards) - 1 or raw["num-slaves"] != 2:
            return False
    return True


@asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[ClusterTopology]:
    """A Cluster; its nodes take each other for dead after a second."""
    names = [f"node-{n}" for n in range(1, 7)]
    nodes = _nodes(directory, names)
    buses = free_ports(len(nodes))
    for node, bus in zip(nodes, buses, strict=True):
        node.options = (
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(DOWN_AFTER_MS), "--cluster-port", str(bus)),
        )
    primaries, replicas = nodes[:3], nodes[3:]
    async with ClusterTopology("redis+cluster://" + ",".join(map(_address, nodes)), nodes) as topology:
        for node in nodes:
            await node.start()
        for n, node in enumerate(primaries):
            await node.call("CLUSTER ADDSLOTSRANGE", SLOTS * n // 3, SLOTS * (n + 1) // 3 - 1)
        for n, node in enumerate(nodes):
            await node.call("CLUSTER SET-CONFIG-EPOCH", n + 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            await nodes[0].call("CLUSTER MEET", "127.0.0.1", node.port, bus)
        await wait_until(lambda: _formed(nodes), within_s=_START_S, what="the Cluster")
        for replica, primary in zip(replicas, primaries, strict=True):
            await replica.call("CLUSTER REPLICATE", await primary.call("CLUSTER MYID"))
        await wait_until(lambda: _formed(nodes, replicas=3), within_s=_START_S, what="the Cluster's replicas")
        for replica, primary in zip(replicas, primaries, strict=True):
            await wait_until(partial(replica.follows, primary), within_s=_START_S, what="a replica with all data")
        yield topology


async def _formed(nodes: Sequence[Node], *, replicas: int = 0) -> bool:
    for node in nodes:
        info = await node.call("CLUSTER INFO")
        known = await node.call("CLUSTER NODES")
        if str(info["cluster_state"]) != "ok" or len(known) != len(nodes):
            return False
        if sum("slave" in other["flags"] for other in known.values()) != replicas:
            return False
    return True
