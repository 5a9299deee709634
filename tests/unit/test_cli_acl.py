"""``jobqueue acl`` prints lines for the configured kind of Redis, and asks no server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobqueue.broker.acl import set_user
from jobqueue.cli.acl import acl


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"JOBQUEUE_DATA_DIR": str(tmp_path), "JOBQUEUE_REDIS_URL": "redis://nobody.invalid"}


def ran(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(acl, arguments, env=environment, catch_exceptions=False)


def test_it_prints_one_line_for_each_of_the_two_users(environment: dict[str, str]) -> None:
    printed = [line for line in ran("--user", "docs", **environment).output.splitlines() if not line.startswith("#")]
    assert printed == [set_user("docs-worker", "worker"), set_user("docs-client", "client")]


def test_a_cluster_and_durable_writes_bring_further_rights(environment: dict[str, str]) -> None:
    settings = environment | {"JOBQUEUE_REDIS_URL": "redis+cluster://nobody.invalid", "JOBQUEUE_DURABLE": "replica"}
    lines = json.loads(ran("--json", **settings).output)
    for line in lines.values():
        assert {"+wait", "+cluster|slots", "~{jobqueue:*"} <= set(line.split())
    plain = json.loads(ran("--json", **environment).output)
    assert {"+wait", "+cluster|slots", "~{jobqueue:*"}.isdisjoint(plain["worker"].split())
