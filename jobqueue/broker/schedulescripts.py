"""Typed wrappers of the Lua scripts of schedules, as `jobqueue.broker.scripts` has those of jobs."""

from __future__ import annotations

from dataclasses import dataclass

from jobqueue.broker.keys import ScheduleKeys
from jobqueue.broker.scripts import Redis, _run, _text


@dataclass(frozen=True, slots=True)
class ScheduleScripts:
    """The scripts of the schedules."""

    redis: Redis
    keys: ScheduleKeys

    async def look(self, limit: int, *, now_ms: int | None = None) -> tuple[int, int | None, list[tuple[str, bytes]]]:
        """Now and the next tick after it, in ms; names and records of up to ``limit`` schedules with a tick by now."""
        args = (limit, "" if now_ms is None else now_ms)
        now, later, *rows = await _run(self.redis, "schedule_look", [self.keys.schedules, self.keys.due], args)
        names = [_text(name) for name in rows[::2]]
        return now, later if later >= 0 else None, list(zip(names, rows[1::2], strict=True))

    async def put(
        self, name: str, *, read: bytes, record: bytes, next_ms: int | None, most: tuple[int, str, int] = (0, "", 0)
    ) -> int:
        """Replace the record that was read (b"": there was none; b"": delete it); the answers are in the script.

        ``most``: how many schedules there may be, the prefix of a tenant's, and how many those may be.
        """
        keys, args = [self.keys.schedules, self.keys.due], (name, read, record, "" if next_ms is None else next_ms)
        return int(await _run(self.redis, "schedule_put", keys, (*args, *most), mark=self.keys.durable))
