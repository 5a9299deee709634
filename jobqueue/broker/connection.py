"""Connections: one server, Sentinel, Cluster, or the embedded server, by URL alone.

``redis://user:password@host:6379/0``, ``rediss://`` for TLS, ``unix://:password@/path.sock?db=0``,
``redis+sentinel://user:password@host:26379,host:26379/service/0``, ``redis+cluster://user:password@host:6379,host:6380``,
or ``embedded``: the server that ``jobqueue up`` runs on the data directory. User and password are the data servers';
Sentinels that want some of their own get them by ``?sentinel_username=…&sentinel_password=…``. ``rediss+…`` means TLS
to all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from arq.connections import ArqRedis, RedisSettings
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool

from jobqueue.broker.embedded import read_endpoint
from jobqueue.broker.enqueue import EnqueueVerbs
from jobqueue.broker.failover import CONNECT_TIMEOUT_S, SteadyCluster, SteadyRedis, SteadySentinel, SteadySentinelPool
from jobqueue.errors import ConfigError, Unavailable
from jobqueue.job import decode, encode
from jobqueue.settings import TlsFiles

EMBEDDED: Final = "embedded"


class Pool(EnqueueVerbs, SteadyRedis, ArqRedis):  # type: ignore[misc]  # ArqRedis's own bases disagree
    """arq's pool whose enqueues are one script call and wake an idle worker."""

    on_cluster = False


class ClusterPool(EnqueueVerbs, SteadyCluster):  # type: ignore[misc]  # RedisCluster's own bases disagree
    """The same verbs over a Redis Cluster; plain arq can't be used there."""

    on_cluster = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_serializer = encode
        self.job_deserializer = decode


AnyPool = Pool | ClusterPool


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """A parsed URL. ``hosts`` is empty for a socket."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    socket: str | None = None
    username: str | None = None
    password: str | None = None
    database: int = 0
    service: str = "mymaster"
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    tls_files: TlsFiles = field(default_factory=TlsFiles)

    @property
    def tls(self) -> bool:
        return self.scheme.startswith("rediss")

    @property
    def tls_options(self) -> dict[str, Any]:
        """TLS as redis-py's arguments; those of `arq.connections.RedisSettings` have the same names."""
        if not self.tls:
            return {"ssl": False}
        files = self.tls_files
        named = {"ssl_ca_certs": files.ca, "ssl_certfile": files.cert, "ssl_keyfile": files.key}
        paths = {name: str(path) for name, path in named.items() if path is not None}
        return {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": files.check_hostname, **paths}

    @property
    def cluster(self) -> bool:
        return self.scheme.endswith("+cluster")

    @property
    def sentinel(self) -> bool:
        return self.scheme.endswith("+sentinel")

    def __str__(self) -> str:
        """For people and logs: without the password."""
        return f"{self.scheme}://{self.socket or ','.join(f'{h}:{p}' for h, p in self.hosts)}"


def parse(url: str) -> RedisUrl:
    """Parse a Redis URL.

    Raises:
        ConfigError: names JOBQUEUE_REDIS_URL and what is wrong.

    >>> str(parse("redis+sentinel://:secret@a:26379,b:26379/main/2")), parse("redis+sentinel://a/main/2").service
    ('redis+sentinel://a:26379,b:26379', 'main')
    """
    scheme, found, rest = url.partition("://")
    known = {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}
    if not found or scheme not in known:
        raise ConfigError(f"JOBQUEUE_REDIS_URL: {scheme or url!r} is not one of {', '.join(sorted(known))}")
    credentials, at, address = rest.rpartition("@")
    username, _, password = credentials.partition(":") if at else ("", "", "")
    who: dict[str, Any] = {"username": unquote(username) or None, "password": unquote(password) or None}
    query = parse_qs(urlsplit(f"//{address}").query)
    if scheme.endswith("sentinel"):
        who |= {name: query[name][0] for name in ("sentinel_username", "sentinel_password") if name in query}
    path = address.partition("?")[0]
    try:
        if scheme == "unix":
            return RedisUrl(scheme=scheme, socket=unquote(path), database=int(query.get("db", ["0"])[0]), **who)
        netloc, _, tail = path.partition("/")
        default_port = 26379 if scheme.endswith("sentinel") else 6379
        hosts = tuple(_host(part, default_port) for part in netloc.split(",") if part)
        parts = [part for part in tail.split("/") if part]
        service = parts.pop(0) if scheme.endswith("sentinel") and parts else "mymaster"
        database = int(query.get("db", parts[:1] or ["0"])[0])
    except ValueError as exc:
        raise ConfigError(f"JOBQUEUE_REDIS_URL: {exc} in the part after the password") from exc
    if not hosts:
        raise ConfigError("JOBQUEUE_REDIS_URL: no host is named")
    return RedisUrl(scheme=scheme, hosts=hosts, database=database, service=service, **who)


def _host(part: str, default_port: int) -> tuple[str, int]:
    split = urlsplit(f"//{part}")
    if not split.hostname:
        raise ValueError(f"{part!r} names no host")
    return split.hostname, split.port or default_port


def resolve(url: str, data_dir: Path, tls: TlsFiles | None = None) -> RedisUrl:
    """The address to connect to; ``embedded`` is looked up in the data directory. ``tls`` is for ``rediss`` URLs.

    Raises:
        Unavailable: the embedded server isn't running.
    """
    if url != EMBEDDED:
        return replace(parse(url), tls_files=tls or TlsFiles())
    endpoint = read_endpoint(data_dir)
    if endpoint is None:
        raise Unavailable(
            f"no embedded Redis runs on {data_dir}: start it with 'jobqueue up', or set JOBQUEUE_REDIS_URL to a server"
        )
    return RedisUrl(scheme="unix", socket=str(endpoint.socket), password=endpoint.password)


def socket_url(socket: Path | str, password: str) -> str:
    """The URL of a server on a Unix socket."""
    return f"unix://:{quote(password, safe='')}@{quote(str(socket))}"


def arq_settings(url: RedisUrl) -> RedisSettings:
    """The same address for arq's own command (``arq --check``) and plain clients."""
    host, port = url.hosts[0] if url.hosts else ("localhost", 6379)
    return RedisSettings(
        host=list(url.hosts) if url.sentinel else host,
        port=port,
        unix_socket_path=url.socket,
        database=url.database,
        username=url.username,
        password=url.password,
        sentinel=url.sentinel,
        sentinel_master=url.service,
        **url.tls_options,
    )


def open_pool(url: RedisUrl, *, queue: str = "arq:queue", max_connections: int | None = None) -> AnyPool:
    """A pool for an address; it connects at its first command. ``queue`` is the default of its enqueues."""
    common: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "max_connections": max_connections,
    }
    if url.cluster:
        nodes = [ClusterNode(host, port) for host, port in url.hosts]
        options = {k: v for k, v in common.items() if v is not None}
        cluster = ClusterPool(startup_nodes=nodes, **url.tls_options, **options)  # type: ignore[abstract]  # redis-py
        cluster.default_queue_name = queue
        return cluster
    pool: Pool
    if url.sentinel:
        sentinel = SteadySentinel(  # type: ignore[no-untyped-call]  # redis-py
            list(url.hosts),
            sentinel_kwargs={
                "username": url.sentinel_username,
                "password": url.sentinel_password,
                "socket_connect_timeout": CONNECT_TIMEOUT_S,
                **url.tls_options,
            },
            **url.tls_options,
            db=url.database,
            **common,
        )
        pool = sentinel.master_for(url.service, redis_class=Pool, connection_pool_class=SteadySentinelPool)
    elif url.socket is not None:
        pool = Pool(unix_socket_path=url.socket, db=url.database, **common)
    else:
        host, port = url.hosts[0]
        pool = Pool(host=host, port=port, db=url.database, **url.tls_options, **common)
    pool.job_serializer = encode
    pool.job_deserializer = decode
    pool.default_queue_name = queue
    return pool


async def close_pool(pool: Redis | RedisCluster) -> None:
    """Release a pool's connections, the idle ones included."""
    if isinstance(pool, Redis):
        await pool.aclose(close_connection_pool=True)
        if isinstance(pool.connection_pool, SentinelConnectionPool):
            for sentinel in pool.connection_pool.sentinel_manager.sentinels:
                await sentinel.aclose(close_connection_pool=True)
    else:
        await pool.aclose()
