"""One untrusted Python program, run where it can harm nothing but itself. Linux only.

bubblewrap gives the program namespaces of its own: no network (abstract sockets included), no process but its own to
see or to signal, no file but Python's to read, one small folder in memory to write to. The program is process 1 of its
PID namespace, so the kernel ends everything that it started when it ends.

Limits (`prlimit`) are set inside the namespaces. The one on processes does not bind root, so the program never runs as
root: a root user first makes the interpreter reachable, which may lie in a closed home, and then becomes nobody. The
limit on memory counts the address space of each process; memory held in other ways (shared segments, files in memory)
ends with the program, and the kernel takes the program first should the machine run out (`choom`).

Left out: a filter on system calls, so a defect in the kernel itself is not guarded against; and a control group, which
would limit memory as a whole but which a normal user or a container can rarely make.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

FINISHED, _FAILED, _OUT_OF_TIME, _TOO_MUCH_OUTPUT = "finished", "failed", "out of time", "too much output"
_PROCESSES, _OPEN_FILES = 8, 64  # threads count as processes
_OUTPUT, _FOLDER = 16 * 2**20, 64 * 2**20  # bytes: standard output or any other file; the working folder as a whole
_WORKING = "/sandbox"  # not /tmp, where Python itself may be installed
_KEPT = 2000  # characters of standard error, the last ones
# As root, in a mount namespace of its own: Python's folders are shown where all may enter, and root is given up.
_SHOWN = ["/sys/base_prefix", "/sys/prefix"]  # in /sys, because no Python is installed there
_AS_ROOT = f"""\
mount -t tmpfs none /sys && mkdir {" ".join(_SHOWN)} &&
mount --bind "$1" {_SHOWN[0]} && mount --bind "$2" {_SHOWN[1]} &&
shift 2 && exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
"""


@dataclass(frozen=True)
class _Result:
    """What a program did.

    Attributes:
        status: `finished` (exit code 0), `failed` (any other, `stderr` says why), `out of time` or `too much output`.
        stdout: all of it, at most 16 MiB.
        stderr: its last 2,000 characters.
        exit_code: 128 and the signal's number if a signal ended it.
    """

    status: str
    stdout: str
    stderr: str
    exit_code: int


def check_sandbox() -> None:
    """Refuse a machine that cannot isolate a program.

    Raises:
        RuntimeError: with what is missing.
    """
    result = run("print('ready')", seconds=60)
    if result.stdout != "ready\n":
        raise RuntimeError(f"the sandbox for model-written code does not run Python: {result.status}, {result.stderr}")


def run(program: str, stdin: str = "", *, seconds: float = 6.0, memory: int = 2 * 2**30) -> _Result:
    """Run a Python program in a sandbox with this environment's packages.

    Args:
        stdin: its standard input.
        seconds: wall time, the start of the sandbox included. Each process may take one second more of CPU time.
        memory: bytes of address space for each of its at most 8 processes.

    Raises:
        RuntimeError: the machine cannot isolate a program; with what is missing.
    """
    if shutil.which("bwrap", path=os.defpath) is None:
        raise RuntimeError(
            "model-written code runs only inside bubblewrap, which was not found: install it (on Debian, Ubuntu and "
            "Colab: apt-get install bubblewrap), or leave code out"
        )
    with (
        tempfile.TemporaryFile() as text,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        tempfile.TemporaryFile() as report,
    ):
        text.write(program.encode(errors="replace"))
        text.seek(0)
        limits = [f"--cpu={math.ceil(seconds) + 1}", f"--as={memory}"]
        process = subprocess.Popen(
            _command(text, report, limits),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[text.fileno(), report.fileno()],
            env={"OMP_NUM_THREADS": "1"},  # numpy's threads would count as processes
            cwd="/",
            start_new_session=True,
        )
        try:
            process.communicate(stdin.encode(errors="replace"), timeout=seconds)
        except subprocess.TimeoutExpired:
            in_time = False
        else:
            in_time = True
        finally:
            _end(process, report)
        written, words = _read(stdout), _read(stderr)[-_KEPT:]
        is_full = os.fstat(stdout.fileno()).st_size >= _OUTPUT
        exit_code = _said(report).get("exit-code")
    if in_time and exit_code is None:
        raise RuntimeError(
            "this machine cannot isolate model-written code, which takes bubblewrap 0.8 or newer and the permission to "
            f"make user namespaces: {words.strip()}"
        )
    if not in_time:
        status = _OUT_OF_TIME
    elif is_full:
        status = _TOO_MUCH_OUTPUT
    else:
        status = _FAILED if exit_code else FINISHED
    return _Result(status, written, words, 128 + signal.SIGKILL if exit_code is None else exit_code)


def _command(text: BinaryIO, report: BinaryIO, limits: list[str]) -> list[str]:
    """The command line: bubblewrap, the limits, Python and the program."""
    is_root = os.geteuid() == 0
    prefixes = [sys.base_prefix, sys.prefix]
    sources = _SHOWN if is_root else prefixes
    system = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"]
    readable = [*zip(system, system, strict=True), *zip(sources, prefixes, strict=True)]
    return [
        *(["unshare", "--mount", "sh", "-c", _AS_ROOT, "sh", *prefixes] if is_root else []),
        *("bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--new-session", "--as-pid-1"),
        *("--die-with-parent", "--json-status-fd", str(report.fileno())),
        *(argument for source, path in readable for argument in ("--ro-bind-try", source, path)),
        *("--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"),
        *("--ro-bind-data", str(text.fileno()), "/program.py"),
        *("--size", str(_FOLDER), "--tmpfs", _WORKING, "--chdir", _WORKING, "--remount-ro", "/"),
        *("choom", "--adjust", "1000", "--"),
        # One byte of core: with none, a handler of crashes outside would still be called.
        *("prlimit", f"--nproc={_PROCESSES}", f"--nofile={_OPEN_FILES}", f"--fsize={_OUTPUT}", "--core=1", *limits),
        *(sys.executable, "-I", "-X", "utf8", "/program.py"),
    ]


def _end(process: subprocess.Popen, report: BinaryIO) -> None:
    """Kill the sandbox if it runs, by its process 1, which cannot evade that; and wait until all of it is gone."""
    if process.poll() is None:
        child = _said(report).get("child-pid")
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL) if child else os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _said(report: BinaryIO) -> dict[str, int]:
    """What bubblewrap reported so far, in whole lines; read without moving the place where it writes."""
    lines = os.pread(report.fileno(), 4096, 0).decode().splitlines(keepends=True)
    return {name: value for line in lines if line.endswith("\n") for name, value in json.loads(line).items()}


def _read(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(_OUTPUT).decode(errors="replace")
