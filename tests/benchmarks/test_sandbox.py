"""Hostile programs: what each did is told, and the machine is as before.

A program that could do harm looks first whether it is confined, and says "loose" and stops if it is not.
"""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

from mathtransfer.benchmarks import sandbox
from mathtransfer.benchmarks.sandbox import FINISHED, run

FAILED, OUT_OF_TIME, TOO_MUCH_OUTPUT = "failed", "out of time", "too much output"
MARK = f"stray-{os.getpid()}"  # a process's name, 15 characters at most; other test runs have their own
NAMED = f"import os, sys\nopen('/proc/self/comm', 'w').write({MARK!r})\n"
CONFINED = f"import os, sys\nif os.getpid() != 1 or os.path.exists({str(ROOT / 'README.md')!r}): sys.exit('loose')\n"
# Ignores every signal that can be ignored, and asks not to die with its parent.
STUBBORN = (
    NAMED
    + """
import ctypes, signal
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
ctypes.CDLL(None).prctl(1, 0)
if os.fork() == 0:
    os.setsid()
while True: pass
"""
)

pytestmark = pytest.mark.usefixtures("isolated")


def strays() -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["name"]) if process.info["name"] == MARK]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert not strays()


# --- what an honest program gets


def test_an_honest_program():
    result = run("print(input(), '→', sum(map(int, input().split())))", "sum of\n1 2 39\n")
    assert result == sandbox._Result(FINISHED, "sum of → 42\n", "", 0)


def test_packages_and_a_folder_to_write_to():
    program = """
import os, tempfile, numpy
print(os.listdir("."))
open("notes", "w").write("x")
with tempfile.TemporaryFile() as file:
    print(file.write(b"four"), numpy.arange(3).sum())
"""
    assert run(program).stdout == "[]\n4 3\n"
    assert run(program).stdout == "[]\n4 3\n"  # nothing stays for the next one
    assert run("import threading; threading.Thread(target=print, args=['thread']).start()").stdout == "thread\n"


def test_an_environment_in_a_closed_folder(tmp_path):
    venv.create(tmp_path / "closed" / "environment", symlinks=True)
    (tmp_path / "closed").chmod(0o700)
    code = "from mathtransfer.benchmarks.sandbox import run; print(run('import sys; print(sys.prefix)').stdout)"
    command = [tmp_path / "closed" / "environment" / "bin" / "python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")})
    assert done.stdout.strip() == str(tmp_path / "closed" / "environment"), done.stderr


@pytest.mark.parametrize(
    ("program", "exit_code", "words"),
    [
        ("1 / 0", 1, "ZeroDivisionError"),
        ("def", 1, "SyntaxError"),
        ("\x00", 1, "null bytes"),
        ("raise SystemExit(7)", 7, ""),
        ("import ctypes; ctypes.string_at(0)", 128 + signal.SIGSEGV, ""),
    ],
)
def test_a_failure_is_told(program, exit_code, words):
    result = run(program)
    assert (result.status, result.exit_code, result.stdout) == (FAILED, exit_code, "")
    assert words in result.stderr


def test_input_that_is_not_read_and_output_that_is_not_text():
    assert run("import sys; sys.stdin.close()", "x" * 10**6).status == FINISHED
    assert run("import os; os.write(1, b'\\xff!')").stdout == "\ufffd!"


# --- limits


def test_fork_bomb():
    program = CONFINED + NAMED + f"import time\nPROCESSES = {sandbox._PROCESSES}\n"
    program += """
for _ in range(9):  # 512 processes if nothing stops them
    try:
        os.fork()
    except OSError as error:
        refused = error.errno
if os.getpid() > 1:
    time.sleep(600)  # ends with process 1
processes, deadline = 0, time.monotonic() + 20  # one that is just made is counted before it is listed
while processes < PROCESSES and time.monotonic() < deadline:
    processes = sum(name.isdigit() for name in os.listdir("/proc"))
print(refused, processes)
"""
    result = run(program, seconds=60)
    assert result.status == FINISHED
    assert result.stdout == f"{errno.EAGAIN} {sandbox._PROCESSES}\n"


def test_thread_bomb():
    program = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=[60], daemon=True).start()"
    result = run(program)
    assert result.status == FAILED and "can't start new thread" in result.stderr


def test_endless_output():
    result = run("while True: print('ä' * 1000)", seconds=20)
    assert result.status == TOO_MUCH_OUTPUT and "File too large" in result.stderr
    assert len(result.stdout.encode(errors="replace")) == sandbox._OUTPUT
    result = run("import sys\nwhile True: sys.stderr.write('no' * 1000)", seconds=20)
    assert result.status in (FAILED, OUT_OF_TIME) and len(result.stderr) <= sandbox._KEPT


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time; time.sleep(600)",
        "while True:\n  try:\n    while True: print('x' * 1000)\n  except OSError: pass",
        STUBBORN,
    ],
    ids=["busy", "asleep", "printing", "stubborn"],
)
def test_endless_program(program):
    start = time.monotonic()
    result = run(program, seconds=1)
    assert result.status == OUT_OF_TIME and result.exit_code == 128 + signal.SIGKILL
    assert time.monotonic() - start < 5


def test_cpu_time_is_limited_too():
    limits = "import resource as r; print(r.getrlimit(r.RLIMIT_CPU), r.getrlimit(r.RLIMIT_NPROC))"
    assert run(limits, seconds=2.5).stdout == f"(4, 4) ({sandbox._PROCESSES}, {sandbox._PROCESSES})\n"
    raised = run("import resource as r; r.setrlimit(r.RLIMIT_NPROC, (999, 999))")
    assert "not allowed to raise" in raised.stderr


def test_memory_hog():
    program = "kept = []\nwhile True: kept.append(bytearray(2**24)); print(len(kept))"
    result = run(program, memory=2**28)
    assert result.status == FAILED and "MemoryError" in result.stderr
    assert 5 <= int(result.stdout.split()[-1]) <= 16
    assert run("open('/proc/self/oom_score_adj').read() == '1000\\n' or print('the machine goes first')").stdout == ""


def test_huge_files():
    program = """
import os
size = 0
try:
    with open("large", "wb") as file:
        while True: size += file.write(bytes(2**20))
except OSError as error:
    print(size, error.errno)
count = 0
try:
    while True:
        open(f"file {count}", "wb").write(bytes(2**20))
        count += 1
except OSError as error:
    print(count, error.errno)
"""
    result = run(program, seconds=20)
    left = (sandbox._FOLDER - sandbox._OUTPUT) >> 20
    assert result.stdout == f"{sandbox._OUTPUT} {errno.EFBIG}\n{left} {errno.ENOSPC}\n"
    assert not Path(sandbox._WORKING).exists()


# --- isolation


@pytest.mark.slow
def test_deleting_everything(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("here")
    program = (
        CONFINED
        + f"""
import shutil, subprocess
if os.path.exists({str(kept)!r}): sys.exit("loose")
for path in ({str(Path.home())!r}, {str(ROOT)!r}, "/usr/share"):
    shutil.rmtree(path, ignore_errors=True)
done = subprocess.run(["rm", "-rf", "--no-preserve-root", {str(ROOT)!r}, "/"], stderr=subprocess.PIPE)
print("tried", os.path.exists(sys.executable), b"Read-only file system" in done.stderr)
"""
    )
    before = sorted(os.listdir("/usr/share"))
    result = run(program, seconds=60)
    # What `rm` says is looked at inside: outside, where all of /proc is complained about, its end is all that is kept.
    assert (result.status, result.stdout) == (FINISHED, "tried True True\n")
    assert kept.read_text() == "here" and (ROOT / "README.md").is_file()
    assert sorted(os.listdir("/usr/share")) == before


@pytest.mark.slow
def test_only_the_working_folder_can_be_written():
    program = """
import os
for folder, _, files in os.walk("/"):
    if folder.startswith(("/proc", "/dev/pts")):  # its own processes and terminals: no files
        continue
    if os.access(folder, os.W_OK):
        print(folder)
    for path in (os.path.join(folder, file) for file in files):
        if os.path.islink(path):  # what it leads to has a place of its own; /dev/stdout leads to what is printed here
            continue
        if os.path.isfile(path) and os.access(path, os.W_OK):
            print(path)
for path in ("/mine", "/dev/shm/mine", "/usr/mine", "/program.py", __import__("sys").executable):
    try:
        open(path, "a")
        print(path)
    except OSError:
        pass
"""
    assert run(program, seconds=60).stdout == f"{sandbox._WORKING}\n"


def test_other_files_cannot_be_read(tmp_path):
    (tmp_path / "secret").write_text("secret")
    paths = ["/etc/passwd", "/etc/shadow", "/sys/kernel", "/var/log", tmp_path / "secret", ROOT / "README.md"]
    paths += Path.home().glob(".*rc")
    assert any(Path(path).exists() for path in paths)
    program = f"import os\nprint([path for path in {[str(path) for path in paths]} if os.path.exists(path)])"
    assert run(program).stdout == "[]\n"
    outside = "pathlib.Path('/proc', '1', 'root', 'etc', 'passwd')"  # the host's files, as process 1 would see them
    assert run(f"import pathlib\nprint({outside}.read_text())").status == FAILED


def test_environment_of_the_parent(monkeypatch):
    monkeypatch.setenv("TOKEN", "a-secret-token")
    program = """
import glob
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
    print(open(path).read())
"""
    outside = subprocess.run([sys.executable, "-c", "import os; print(os.environ['TOKEN'])"], capture_output=True)
    assert b"a-secret-token" in outside.stdout
    result = run(program)
    assert result.status == FINISHED and "OMP_NUM_THREADS" in result.stdout
    assert "a-secret-token" not in result.stdout and "pytest" not in result.stdout
    names = run("import os; print(*sorted(os.environ))").stdout.split()
    assert set(names) <= {"OMP_NUM_THREADS", "PWD", "LC_CTYPE"}


def test_open_files_are_not_inherited(tmp_path):
    with open(tmp_path / "open", "w") as file:
        os.set_inheritable(file.fileno(), True)
        # The fourth is the folder that is being listed.
        assert run("import os; print(os.listdir('/proc/self/fd'))").stdout == "['0', '1', '2', '3']\n"


def test_network(tmp_path):
    """The same program reaches three servers outside the sandbox, and none inside."""
    abstract, path = f"\0{MARK}-{os.getpid()}", str(tmp_path / "socket")
    servers = [socket.socket(socket.AF_INET), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    reached = []
    for server, address in zip(servers, [("127.0.0.1", 0), abstract, path], strict=True):
        server.bind(address)
        server.listen()
        threading.Thread(target=lambda s=server: reached.append(s.accept()), daemon=True).start()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    datagrams.settimeout(0.2)
    port, own = servers[0].getsockname()[1], datagrams.getsockname()[1]
    program = f"""
import socket
for address in [("127.0.0.1", {port}), {abstract!r}, {path!r}]:
    try:
        socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET).connect(address)
        print("connected")
    except OSError as error:
        print(type(error).__name__)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", {own}))
print(*[name for _, name in socket.if_nameindex()])
"""
    assert run(program).stdout.split("\n")[:-1] == ["ConnectionRefusedError"] * 2 + ["FileNotFoundError", "lo"]
    assert not reached
    with pytest.raises(TimeoutError):
        datagrams.recv(10)
    outside = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert outside.count("connected") == 3 and datagrams.recv(10) == b"hello"
    for server in (*servers, datagrams):
        server.close()


def test_signals_to_others():
    victim = subprocess.Popen(["sleep", "60"])
    program = (
        CONFINED
        + f"""
import signal
for pid in [os.getppid(), {os.getpid()}, {victim.pid}, -{os.getpgid(0)}, -1]:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            if pid: os.kill(pid, number)
        except ProcessLookupError:
            print("nobody there")
"""
    )
    result = run(program)
    assert (result.status, result.stdout) == (FINISHED, "nobody there\n" * 8)
    assert victim.poll() is None
    victim.kill()
    victim.wait()


def test_a_daemon_ends_with_its_program():
    program = (
        NAMED
        + """
import signal, time
if os.fork() == 0:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)
time.sleep(0.2)
print("done")
"""
    )
    start = time.monotonic()
    result = run(program, seconds=30)
    assert (result.status, result.stdout) == (FINISHED, "done\n")
    assert time.monotonic() - start < 10 and not strays()


def test_a_program_ends_with_whoever_started_it():
    code = f"from mathtransfer.benchmarks.sandbox import run\nrun({NAMED + 'while True: pass'!r}, seconds=60)"
    starter = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not strays() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert strays()
    starter.kill()
    starter.wait()
    while strays() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_no_privileges_and_no_way_to_new_ones():
    program = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(os.getuid() != 0, libc.unshare(0x10000000), os.strerror(ctypes.get_errno()))
print({line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm", "CapBnd"))})
"""
    kept = run(program).stdout.splitlines()
    assert kept == [f"True -1 {os.strerror(errno.ENOSPC)}", "{'0000000000000000'}"]
