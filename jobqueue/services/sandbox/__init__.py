"""Blocking code over hostile bytes, in child processes with limits: the adapter of `jobqueue.ports.Sandbox`.

::

    worker (asyncio)                fork server                      child, one per running call
    pool.py  processes.py  ──────►  forkserver.py  ──── fork ────►   child.py
        │       control socket: spawn, kill / reports of deaths         ▲
        └───────────────────── conversation socket: call / answer ──────┘

Three kinds of process, each with one job:

- The **worker** speaks, waits and judges (`verdicts`). It signals nobody: only the parent of a process can do that
  without the risk that the number belongs to somebody else by now.
- The **fork server** forks, kills and reaps. It runs no threads, no event loop and none of the code that touches
  documents, so that a fork of it is cheap (milliseconds) and safe.
- A **child** limits and confines itself, then calls functions, one at a time.

What a child gives up (`confine`), where the kernel lets it: the network and the kernel's wider surface (`seccomp`); all
files but those that it was left, and with them the way into other processes (`landlock`). A child that was taken over
by a document can then still lie about that document, read the other stored files, and use the processor until its
limits; it can't send anything anywhere but into its answer. Where the kernel lets it keep something, it runs all the
same, and the fork server, which has tried at its start, says what.

Who dies with whom: the worker's end closes the control socket, upon which the fork server kills every child with its
descendants, removes the temporary directories and exits; the fork server's end closes a pipe to each child, upon which
the kernel kills that child's process group. Neither needs the dying process to do anything, so SIGKILL is no exception.

Why not ``multiprocessing``'s fork server: it imports the worker's ``__main__`` again in every child and has no switch
against it; it starts children by pickle; there is one for the whole process, with one list of preloads; it forks
for whoever of the same user connects to its socket, a child that was taken over included; and it leaves a tracker
process behind until the worker exits.
"""

from jobqueue.services.sandbox.pool import ProcessSandbox

__all__ = ["ProcessSandbox"]
