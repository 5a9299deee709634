"""Our engine beside other job queues, in one run on one server: ``bin/bench rivals``.

Each contender runs in an environment of its own (`environments`), pinned by ``requirements-NAME.txt`` or
``package.json``, at a fast setting from its documentation (`roster`), behind a small adapter (`adapters`). The jobs are
the same for all, and write to files, so that nothing rests on what a library says of itself:

- **Speed** (`speed`): the workers are started and have run a job each; they are stopped (SIGSTOP) while the queue is
  filled, and go on together. A no-op job writes one byte. What counts is bytes a second, to the last job or the time
  cap; so what a library still does after a job's function has ended is not waited for, for ours neither.
- **Requests** are counted by MONITOR in a run of its own, so that counting doesn't slow what is timed.
- **Distance**: the same behind a proxy (`proxy`) that adds 1 or 2 ms to a round trip. What the proxy itself costs is
  printed.
- **Recovery** (`recovery`): with the library's way to survive crashes switched on, once at its default times, once
  tuned to a lease of 10 s. While it is waited for, one small job a second keeps the queue in use.
- **Scaling** (`scaling`): ours alone, with up to a million jobs behind those that are measured.

Rounds go in turn, and medians count. Whatever a contender can't do is printed with its reason.
"""
