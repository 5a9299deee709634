"""The limits of ``queues.toml``: checked at start, every mistake with its file and key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from jobqueue.errors import ConfigError
from jobqueue.limits import Limit
from jobqueue.queues import load, parse

ROOT = Path(__file__).parents[2]


def file(limits: Any) -> dict[str, Any]:
    job = {"timeout_s": 60, "retry": "r", "keep_result_s": 0}
    return {
        "retry": {"r": {"backoff": "fixed", "base_s": 1.0, "cap_s": 1.0, "max_attempts": 2}},
        "queues": {"ocr": {"weight": 1, "concurrency": 1, "jobs": {"scan": job}, "limits": limits}},
    }


def test_limits_are_read_by_scope() -> None:
    text = """
    ["provider:openai"]
    concurrency = 8
    rate = "60/m"
    burst = 5
    ["tenant:*"]
    weight = 2
    """
    (ocr,) = parse(file(tomllib.loads(text)), "q.toml").values()
    assert ocr.limits == {
        "provider:openai": Limit(concurrency=8, rate_per_s=1.0, burst=5), "tenant:*": Limit(weight=2),
    }  # fmt: skip


def test_the_file_that_comes_along_limits_nothing() -> None:
    assert not any(queue.limits for queue in load().values())


def test_the_example_in_the_file_is_good() -> None:
    text = (ROOT / "config" / "queues.toml").read_text()
    start = text.index('#   [queues.llm.limits."tenant:*"]')
    lines = text[start : text.index("# per schedule", start)].splitlines()
    shown = tomllib.loads("\n".join(line.removeprefix("#") for line in lines))["queues"]["llm"]["limits"]
    (ocr,) = parse(file(shown), "q.toml").values()
    assert {scope: str(limit) for scope, limit in ocr.limits.items()} == {
        "tenant:*": "4 at once", "provider:openai": "8.333/s, burst 20", "tenant:acme": "weight 2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "limit", "said"),
    [
        ("queue", {}, 'queues.ocr.limits."queue": a limit is a concurrency'),
        ("acme", {"concurrency": 1}, "queues.ocr.limits.\"acme\": scope 'acme': queue, type:FUNCTION"),
        ("hold:x", {"concurrency": 1}, 'queues.ocr.limits."hold:x": scope'),
        ("tenant:a\n", {"concurrency": 1}, "queue, type:FUNCTION"),
        ("type:scan", {"weight": 2}, 'queues.ocr.limits."type:scan": weight: only tenants'),
        ("queue", {"rate": "60"}, "such as 60/m"),
        ("queue", {"rate": 60}, "queues.ocr.limits.queue.rate"),
        ("queue", {"rate": "0/s"}, 'queues.ocr.limits."queue": rate 0.0 a second'),
        ("queue", {"burst": 2}, "only beside a rate"),
        ("queue", {"concurrency": "2"}, "queues.ocr.limits.queue.concurrency"),
        ("queue", {"concurrency": True}, "queues.ocr.limits.queue.concurrency"),
        ("queue", {"concurrency": -1}, "concurrency -1: 0 (nothing starts)"),
        ("tenant:a", {"weight": float("nan")}, "weight nan"),
        ("queue", {"paused": True}, "queues.ocr.limits.queue.paused"),
        ("queue", 5, "queues.ocr.limits.queue"),
    ],
)
def test_a_mistake_is_reported_with_its_file_and_key(scope: str, limit: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(file({scope: limit}), "my-queues.toml")
    assert str(caught.value).startswith("my-queues.toml: ")
    assert said in str(caught.value)
