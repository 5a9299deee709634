"""The ``jobqueue`` command. Every subcommand is a module of this package, imported when it is called and not before."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

import click

from jobqueue.cli.common import FAILED, INTERRUPTED, complain
from jobqueue.errors import JobqueueError

COMMANDS: Final = {
    "up": "Run everything on this machine: Redis, a worker per queue, the server.",
    "serve": "Run the server alone.",
    "worker": "Run the worker of one queue, of several, or of all.",
    "submit": "Send files to the server.",
    "status": "Show the queues, or one task.",
    "doctor": "Check this machine, and say what to do where something is wrong.",
    "watch": "Follow a task until it has finished.",
    "flow": "Show, cancel and replay tasks by their steps.",
    "job": "Show, follow and cancel single jobs.",
    "queue": "Show, pause, resume, limit, hold, drain and purge queues.",
    "dead": "List, show, replay and discard dead letters.",
    "schedule": "List, add, pause, resume, run and delete schedules: jobs that run by the clock.",
    "acl": "Print the minimal rights of Redis's users.",
    "demo": "Process a sample document, or your own, from scan to report.",
}
"""What there is, and its one line in ``jobqueue --help``, which must not import anything to be quick."""

_MODULES: Final = {"watch": "status"}  # a module is named after its command but for these


class Lazy(click.Group):
    """A group whose commands are imported one at a time; the table above answers for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"jobqueue.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="jobqueue", message="%(prog)s %(version)s")
def cli() -> None:
    """Background processing of real-estate documents.

    Every command takes --json and then prints one JSON document on standard output. Settings come from the
    environment (JOBQUEUE_…). Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """


def main() -> None:
    """Run the command and end the process: with one line on standard error when it failed for a reason we know."""
    try:
        code = cli.main(prog_name="jobqueue", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except JobqueueError as exc:
        code = complain(str(exc))
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has no reader either
        code = FAILED
    except OSError as exc:
        code = complain(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
