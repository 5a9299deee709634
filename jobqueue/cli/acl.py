"""``jobqueue acl``: the rights that Redis's users need, as lines to paste into ``redis-cli`` or an ACL file."""

from __future__ import annotations

import click

from jobqueue import settings
from jobqueue.broker.acl import PLACEHOLDER, Role, set_user
from jobqueue.broker.connection import parse
from jobqueue.cli.common import emit, json_option


@click.command()
@click.option("--user", default="jobqueue", show_default=True, help="What the names of the two users begin with.")
@json_option
def acl(user: str, as_json: bool) -> None:
    """Print the minimal rights of Redis's users, for JOBQUEUE_REDIS_URL and JOBQUEUE_DURABLE as they are set.

    One user is for the workers, the server and these commands; the other for services that only enqueue. Nothing is
    sent to Redis.
    """
    config = settings.load()
    cluster = config.redis_url != settings.EMBEDDED and parse(config.redis_url).cluster
    roles: tuple[Role, ...] = ("worker", "client")
    lines = {role: set_user(f"{user}-{role}", role, cluster=cluster, durable=config.durable) for role in roles}
    if as_json:
        emit(lines)
        return
    where = "on every node, " if cluster else ""
    print(f"# Run these {where}with your own passwords for {PLACEHOLDER}; ACL SAVE or CONFIG REWRITE keeps them.")
    print("# For the workers, the server and the jobqueue command:")
    print(lines["worker"])
    print("# For services that only enqueue:")
    print(lines["client"])
