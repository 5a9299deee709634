"""Functions that the sandbox's tests call in children; most of them misbehave."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import pickle
import platform
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen  # noqa: F401  # a name that is here, but not from here
from typing import Any

from jobqueue.errors import JobqueueError, ProviderBusy, RejectedFile
from jobqueue.services.sandbox import seccomp


class OwnError(RejectedFile):
    """An error whose class the worker doesn't know."""


def echo(*args: Any, **kwargs: Any) -> list[Any]:
    return [args, kwargs]


def pid() -> int:
    return os.getpid()


def say_bytes(size: int) -> bytes:
    return b"x" * size


def say_object() -> object:
    return object()


def fail(kind: str) -> None:
    errors: dict[str, BaseException] = {
        "RejectedFile": RejectedFile("the file is empty"),
        "ProviderBusy": ProviderBusy("later", retry_after_s=3),
        "own": OwnError("of a class of its own"),
        "ValueError": ValueError("not a number"),
        "SystemExit": SystemExit(3),
        "CancelledError": asyncio.CancelledError("not yours to cancel"),
        "long": ValueError("x" * 100_000_000),
        "long and ours": RejectedFile("x" * 100_000_000),
    }
    raise errors[kind]


def fail_of_memory_inside() -> None:
    try:
        bytearray(1 << 40)
    except MemoryError as exc:
        raise JobqueueError("a library's own error") from exc


def take_memory(size_bytes: int) -> int:
    return len(bytearray(size_bytes))


def spin() -> None:
    while True:
        pass


def burn(cpu_s: float) -> float:
    start = time.process_time()
    while time.process_time() - start < cpu_s:
        pass
    return cpu_s


def write_file(size_bytes: int) -> int:
    with tempfile.TemporaryFile() as file:
        return file.write(b"x" * size_bytes)


def segfault() -> None:
    ctypes.string_at(0)


def leave(code: int, words: str = "") -> None:
    os.write(2, words.encode())
    os._exit(code)


def kill_myself(number: int) -> None:
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)  # Python ignores some, programs in C don't
    os.kill(os.getpid(), number)


def hold_the_interpreter(note: str) -> None:
    """Stay in C code that never lets another thread of this process run."""
    _note(note, os.getpid())
    re.match(r"(a+)+$", "a" * 64 + "b")


def start_sleeper_and_hold_the_interpreter(sleeper: str, interpreter: str) -> None:
    start_sleeper(sleeper, wait=False)
    hold_the_interpreter(interpreter)


def start_sleeper(note: str, *, wait: bool = True, new_session: bool = False, forget: bool = False) -> int:
    """Start a grandchild; ``forget`` leaves it to whoever adopts orphans."""
    command = ["sleep", "1000"]
    if forget:
        options = f"start_new_session={new_session}, stdout=subprocess.DEVNULL"
        script = f"import subprocess; print(subprocess.Popen({command}, {options}).pid)"
        number = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    else:
        number = subprocess.Popen(command, start_new_session=new_session).pid
    _note(note, os.getpid(), number)
    if wait:
        time.sleep(1000)
    return number


def sleep_until(path: str, note: str | None = None) -> int:
    """Wait for a file to appear."""
    if note:
        _note(note, os.getpid())
    while not Path(path).exists():
        time.sleep(0.005)
    return os.getpid()


def nap(seconds: float) -> None:
    time.sleep(seconds)


def leave_thread() -> None:
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()


def leave_files() -> str:
    directory = Path(tempfile.mkdtemp())
    (directory / "left").write_text("x")
    Path("here").write_text("x")
    Path("link").symlink_to("/")
    return str(directory)


def leave_locked_maze(depth: int) -> None:
    """Nest directories too deep to remove by recursion, lock one, and go."""
    Path("locked/inside").mkdir(parents=True)
    Path("locked").chmod(0)
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    os._exit(1)


def list_directory() -> list[str]:
    return [str(Path.cwd()), tempfile.gettempdir(), *(path.name for path in Path().iterdir())]


def describe() -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "group": os.getpgrp(),
        "umask": mask,
        "environment": dict(os.environ),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "memory": resource.getrlimit(resource.RLIMIT_AS),
        "file": resource.getrlimit(resource.RLIMIT_FSIZE),
        "streams": [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (0, 1)],
        "main": getattr(sys.modules["__main__"], "__file__", None),
        "threads": threading.active_count(),
        "fds": {
            path.name: str(path.readlink())
            for path in list(Path("/proc/self/fd").iterdir())
            if path.is_symlink()  # the one that listed the directory is closed by now
        },
        "inherited": subprocess.run(
            ["ls", "/proc/self/fd"], stdout=subprocess.PIPE, text=True, check=True, close_fds=False
        ).stdout.split(),
    }


def flood_stderr(size_bytes: int) -> int:
    sys.stderr.write("x" * size_bytes)
    sys.stderr.flush()
    return size_bytes


def print_much(*_: Any) -> None:
    print("to stdout " * 10_000)  # noqa: T201  # the point


# ── a child that was taken over ──────────────────────────────────────────────────────────────────────────────────


def _conversation() -> socket.socket:
    for fd in range(3, 100):
        try:
            sock = socket.socket(fileno=os.dup(fd))
            sock.getpeername()
            return sock
        except OSError:
            continue
    raise AssertionError("no socket")


class _Bomb:
    def __init__(self, note: str) -> None:
        self.note = note

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (Path(self.note), "unpickled")


def answer_with_pickle(note: str) -> None:
    _answer(pickle.dumps(_Bomb(note)))


def answer_with_raw(body: bytes, claimed: int | None = None) -> None:
    _answer(body, claimed)


def _answer(body: bytes, claimed: int | None = None) -> None:
    _conversation().sendall(struct.pack("!I", len(body) if claimed is None else claimed) + body)
    time.sleep(1000)


def hang_up(note: str) -> None:
    """Close the conversation, but live on."""
    _note(note, os.getpid())
    _conversation().shutdown(socket.SHUT_RDWR)
    signal.pause()


def _note(path: str, *numbers: int) -> None:
    """Write numbers to a file so that a reader sees all of them or none."""
    draft = Path(f"{path}.draft")
    draft.write_text(" ".join(map(str, numbers)))
    draft.rename(path)


# ── what a child may not do ──────────────────────────────────────────────────────────────────────────────────────


def attempt(what: str, *arguments: Any) -> str | None:
    """The name of the error that something fails with; None when it succeeds."""
    try:
        _ATTEMPTS[what](*arguments)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return None


def attempt_in_program(family: int) -> str:
    """As ``attempt("socket", …)``, by a program that the child starts."""
    code = f"import socket; socket.socket({family})"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2]


def system_calls() -> dict[str, str | None]:
    """What each refused system call answers, called with nothing but zeros."""
    column = 0 if platform.machine() == "x86_64" else 1
    return {name: attempt("system call", numbers[column]) for name, numbers in seccomp.REFUSED.items()}


def speak_through_a_pair() -> bytes:
    """What asyncio and multiprocessing need: a pair of sockets within the process."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"heard")
        asyncio.run(asyncio.sleep(0))
        return theirs.recv(5)


def work_with_libraries(pdf: str, picture: str) -> list[str]:
    """Write a PDF and a picture; read the one by both engines, and recognise the other by both."""
    from PIL import Image, ImageDraw, ImageFont  # heavy, and wanted here alone, as what follows
    from reportlab.pdfgen.canvas import Canvas

    from handlers.documents.engines import ENGINES, open_pdf
    from handlers.documents.ocr_engines import ocr_engine

    canvas = Canvas(pdf)
    canvas.drawString(72, 700, "Deed of sale")
    canvas.save()
    drawn = Image.new("L", (900, 200), 255)
    ImageDraw.Draw(drawn).text((40, 60), "Deed of sale", font=ImageFont.load_default(60), fill=0)
    drawn.save(picture)
    texts = []
    for name in sorted(ENGINES):
        with open_pdf(Path(pdf), engine=name, file_name="deed.pdf") as document:
            texts.append(document.text(1).strip())
    with Image.open(picture) as image:
        for name in ("tesserocr", "tesseract"):
            words = ocr_engine(name).words(image, languages="eng", dpi=150, timeout_s=60)
            texts.append(" ".join(word.text for word in words))
    return texts


def _system_call(number: int, *arguments: int) -> None:
    zeros = [ctypes.c_long(argument) for argument in (*arguments, *[0] * (6 - len(arguments)))]
    if ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *zeros) < 0:
        raise OSError(ctypes.get_errno(), "refused")


_ATTEMPTS: dict[str, Callable[..., object]] = {
    "socket": lambda family: socket.socket(family).close(),
    "datagrams": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    "system call": _system_call,
    "limit": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64)),
    "signal": lambda pid: os.kill(pid, 0),
    "read": lambda path: Path(path).read_bytes(),
    "list": os.listdir,
    "write": lambda path: Path(path).write_bytes(b"x"),
    "remove": os.unlink,
    "rename": os.rename,
    "hard link": os.link,
    "link": os.symlink,
    "pipe": os.mkfifo,
}
