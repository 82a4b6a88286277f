"""`python -m MODULE ARGUMENT ...` without the wait for imports: a new process is a copy of one that has made them.

    python warm.py serve                        import the libraries once, and serve until standard input is closed
    python -I -S warm.py -m MODULE ARGUMENT ... run a module, as `python -m` does

A study runs hundreds of notebooks, and papermill and the kernel of each would spend six seconds on imports. The
variable MATHTRANSFER_WARM names the server's socket. If no server answers there, the module runs in a new interpreter,
so nothing depends on the server. A caller's MATHTRANSFER_MEMORY names a file to which every program's largest memory in
MiB is added, the libraries that it shares included; whoever watches the caller does not see it. The server
imports nothing of this project, whose code may change while it serves.

The server forks an attendant for every program, which forks the program itself. Program and caller behave as if they
were one process: the caller's arguments, folder, environment, standard streams and signals are the program's, the
program's exit status is the caller's, and if the caller or its parent is gone, however it went, so is the program.
Linux only: elsewhere a fork of a process that has loaded these libraries is not safe.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys

_PLACE = "MATHTRANSFER_WARM"
_MEMORY = "MATHTRANSFER_MEMORY"
_LIBRARIES = [  # ipykernel is not among them: it asks for its parent when it is imported
    "papermill.cli",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "altair",
    "transformers.models.qwen3.modeling_qwen3",
    "datasets",
    "trl",
    "trl.trainer.grpo_trainer",
    "lm_eval.tasks",
    "lm_eval.api.task",
    "pebble",
]
# Variables that Python or a library reads once, when it starts: a program that wants another value starts by itself.
_READ_AT_START = ("PYTHON", "LD_", "OMP_", "MKL_", "OPENBLAS_", "CUDA_", "TORCH", "HF_", "TRANSFORMERS_", "LC_", "LANG")
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


# --- the caller: standard library only, for its start is what a notebook waits for


def _call(arguments: list[str]) -> int:
    """The exit status of a module that the server runs, or no return at all: then this process runs it itself."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as connection:
        if not _is_accepted(connection, arguments):
            os.execv(sys.executable, [sys.executable, *arguments])
        for number in _FORWARDED:
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
        while not select.select([connection], [], [], 1.0)[0]:
            if os.getppid() != parent:
                return 1  # the connection's end is the program's
        return (connection.recv(1) or b"\1")[0]  # without a status the attendant was killed


def _is_accepted(connection: socket.socket, arguments: list[str]) -> bool:
    request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    content = json.dumps(request).encode()
    try:
        connection.connect(os.environ[_PLACE])
        socket.send_fds(connection, [len(content).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(content)
        return connection.recv(1) == b"+"
    except (KeyError, OSError):
        return False


# --- the server


def _serve() -> list[str]:
    """Serve until standard input is closed; returns in a program only, with its arguments."""
    if sys.platform != "linux":
        sys.exit("no server for warm starts: it needs Linux")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the attendants
    place = os.environ[_PLACE]
    listener = socket.socket(socket.AF_UNIX)
    if os.path.exists(place):
        os.unlink(place)  # the last server's: it leaves it, for at its end the name may be the next server's already
    listener.bind(place)
    listener.listen(64)  # callers wait here while the libraries are imported
    environment = dict(os.environ)
    _import_libraries()
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            return _attend(connection, environment)
        connection.close()
    sys.exit()


def _import_libraries() -> None:
    import gc
    import importlib

    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # to look for a GPU must not initialise CUDA before a fork
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that no program copies these objects' memory when it collects garbage


def _attend(connection: socket.socket, environment: dict[str, str]) -> list[str]:
    """Look after one program until it or its caller ends; returns in the program only, with its arguments."""
    # 1. Read what is asked for, and leave it to the caller if it cannot be had here.
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as file:
        request = json.loads(file.read(int.from_bytes(size, "big")))
    wanted = request["environment"]
    if differ := {name for name, _ in wanted.items() ^ environment.items() if name.startswith(_READ_AT_START)}:
        sys.stderr.write(f"{request['arguments'][1]} starts by itself: it has another {', '.join(sorted(differ))}\n")
        os._exit(0)
    connection.send(b"+")
    # 2. Start it, in a group of processes of its own.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    program = os.fork()
    if not program:
        connection.close()
        return _become(request, streams)
    for stream in streams:
        os.close(stream)
    # 3. Pass signals on to the group until the program ends; without a caller, end the group.
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    ended = os.pidfd_open(program)
    while ended not in select.select([connection, ended], [], [])[0]:
        for number in connection.recv(16) or [signal.SIGKILL]:
            os.killpg(0, number)
    _, waited, used = os.wait4(program, 0)
    status = os.waitstatus_to_exitcode(waited)
    connection.send(bytes([status if status >= 0 else 128 - status]))  # as a shell says that a signal ended it
    if _MEMORY in wanted:
        with open(os.path.join(request["folder"], wanted[_MEMORY]), "a") as file:
            file.write(f"{request['arguments'][1]}\t{used.ru_maxrss / 1024:.0f}\n")
    os._exit(0)


def _become(request: dict, streams: list[int]) -> list[str]:
    """In the program: take over the caller's streams, folder and environment, and random numbers of one's own."""
    import numpy
    import torch

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    numpy.random.seed()  # Python's own `random` seeds itself after a fork
    torch.default_generator.seed()
    return request["arguments"]


def _run(arguments: list[str]) -> None:
    import runpy

    _, module, *others = arguments
    sys.argv = [module, *others]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        _run(_serve())
    else:
        sys.exit(_call(sys.argv[1:]))
