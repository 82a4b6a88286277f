"""Programs that the server of kernels/warm runs are like those that their caller runs itself, but for their start."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from conftest import ROOT
from nbclient import NotebookClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the server needs Linux"),
]
WARM = ROOT / "kernels" / "warm" / "warm.py"
CALL = [sys.executable, "-I", "-S", str(WARM), "-m", "probe"]
PROBE = """
import json, os, random, sys, time
warm = "trl" in sys.modules
import numpy, torch
if sys.argv[1:] == ["tell"]:
    print(json.dumps({
        "warm": warm,
        "project": "mathtransfer" in sys.modules,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "input": sys.stdin.read(),
        "python": random.random(),
        "numpy": numpy.random.random(),
        "torch": torch.rand(1).item(),
        "threads": torch.get_num_threads(),
    }))
    print("said", file=sys.stderr)
    sys.exit(7)
open(sys.argv[1], "w").write(str(os.getpid()))
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
"""


def wait_for(happened, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def serve(place, environment):
    """A new server, which has taken the place."""
    before = place.stat().st_ino if place.exists() else None
    process = subprocess.Popen([sys.executable, WARM, "serve"], env=environment, stdin=subprocess.PIPE)
    wait_for(lambda: place.exists() and place.stat().st_ino != before)
    return process


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The environment in which a server answers."""
    place = tmp_path_factory.mktemp("server") / "warm"
    environment = os.environ | {"MATHTRANSFER_WARM": str(place), "JUPYTER_PATH": str(ROOT)}
    process = serve(place, environment)
    yield environment
    process.stdin.close()
    assert process.wait(20) == 0


@pytest.fixture
def probe(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    return tmp_path


def tell(folder, environment):
    done = subprocess.run([*CALL, "tell"], cwd=folder, env=environment, input="asked", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (7, "said\n")
    return json.loads(done.stdout)


def test_a_program_has_its_callers_place_and_random_numbers_of_its_own(server, probe):
    cold = tell(probe, {name: value for name, value in server.items() if name != "MATHTRANSFER_WARM"})
    one, other = (tell(probe, server | {"ASKED": name}) for name in ("one", "other"))
    assert not cold["warm"] and one["warm"] and not one["project"]
    assert one["folder"] == cold["folder"] == str(probe) and one["input"] == "asked"
    assert one["environment"] == server | {"ASKED": "one"}
    assert one["threads"] == cold["threads"] == 1
    assert all(one[source] != other[source] for source in ("python", "numpy", "torch"))


def test_the_memory_of_a_program_is_told_who_asks(server, probe):
    (probe / "large.py").write_text("import numpy\nnumpy.ones(2**25)\n")  # 256 MiB
    for module in ("large", "json.tool"):
        command = [*CALL[:-1], module]
        subprocess.run(
            command, cwd=probe, env=server | {"MATHTRANSFER_MEMORY": "told"}, input="{}", text=True, check=True
        )
    told = wait_for(lambda: len(lines := (probe / "told").read_text().splitlines()) == 2 and lines)
    (_, large), (_, small) = (line.split("\t") for line in told)
    assert [line.split("\t")[0] for line in told] == ["large", "json.tool"]
    assert 200 < int(large) - int(small) < 300


@pytest.mark.parametrize("own", [{"OMP_NUM_THREADS": "2"}, {"HF_HUB_OFFLINE": "0"}, {"MATHTRANSFER_WARM": "/nowhere"}])
def test_without_a_server_of_these_settings_a_program_starts_by_itself(server, probe, own):
    told = tell(probe, server | own)
    assert not told["warm"]
    assert told["environment"].items() >= own.items()


def start(folder, environment, name, **kwargs):
    """A caller whose program writes its process id to a file and waits for another file; and that process."""
    caller = subprocess.Popen([*CALL, name, f"{name}-go"], cwd=folder, env=environment, **kwargs)
    wait_for(lambda: (folder / name).is_file() and (folder / name).read_text())
    return caller, psutil.Process(int((folder / name).read_text()))


def test_two_programs_at_once(server, probe):
    callers = [start(probe, server, name) for name in ("one", "other")]
    assert all(program.is_running() for _, program in callers)
    for name, (caller, _) in zip(("one", "other"), callers, strict=True):
        (probe / f"{name}-go").touch()
        assert caller.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_program(server, probe, number):
    caller, program = start(probe, server, "one", stderr=subprocess.DEVNULL)
    caller.send_signal(number)
    assert caller.wait(10) == 128 + number
    assert not program.is_running()


def test_a_killed_caller_takes_its_program_with_it(server, probe):
    caller, program = start(probe, server, "one")
    caller.kill()
    caller.wait()
    wait_for(lambda: not program.is_running())


def test_a_killed_parent_of_a_caller_takes_the_program_with_it(server, probe):
    parent = subprocess.Popen(["bash", "-c", f"{' '.join(CALL)} one go; true"], cwd=probe, env=server)
    wait_for(lambda: (probe / "one").is_file() and (probe / "one").read_text())
    program = psutil.Process(int((probe / "one").read_text()))
    parent.kill()
    parent.wait()
    wait_for(lambda: not program.is_running())


def test_the_server_ends_with_the_shell_that_started_it_though_that_is_killed(probe):
    """As in the Makefile's recipe; what it leaves behind does no harm."""
    environment = os.environ | {"MATHTRANSFER_WARM": str(probe / "warm")}
    script = f"exec 8> >(exec {sys.executable} {WARM} serve); sleep 60"
    shell = subprocess.Popen(["bash", "-c", script], env=environment, start_new_session=True)
    wait_for((probe / "warm").exists)
    _, program = start(probe, environment, "one")
    started = psutil.Process(shell.pid).children()
    server = next(child for child in started if "serve" in child.cmdline())
    shell.kill()
    shell.wait()
    for child in started:
        if child != server:
            child.kill()  # `sleep`, which holds the input open as Snakemake does
    wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    assert not tell(probe, environment)["warm"]
    program.kill()


def test_a_server_that_ends_late_leaves_the_next_one_its_place(probe):
    place = probe / "warm"
    environment = os.environ | {"MATHTRANSFER_WARM": str(place)}
    first, second = (serve(place, environment) for _ in range(2))
    first.stdin.close()
    assert first.wait(60) == 0
    assert tell(probe, environment)["warm"]
    second.stdin.close()
    assert second.wait(60) == 0


CELLS = [
    "import time\nwhile True:\n    time.sleep(0.1)",
    "import sys\nwarm = 'trl' in sys.modules\nimport os, torch\ntorch.manual_seed(0)\nos.getcwd(), torch.rand(2)",
    "warm",
]


def test_a_cell_that_takes_too_long_is_interrupted_and_the_next_runs(server, monkeypatch, tmp_path):
    for name in ("MATHTRANSFER_WARM", "JUPYTER_PATH"):
        monkeypatch.setenv(name, server[name])
    said = {}
    for kernel in ("python3", "warm"):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
        client = NotebookClient(
            notebook,
            kernel_name=kernel,
            timeout=3,
            interrupt_on_timeout=True,
            allow_errors=True,
            resources={"metadata": {"path": str(tmp_path)}},
        )
        client.execute()
        said[kernel] = [cell.outputs[0] for cell in notebook.cells]
    for error, numbers, warm in said.values():
        assert error.ename == "KeyboardInterrupt"
        assert numbers.data == said["python3"][1].data
        assert warm.data["text/plain"] == str(warm is said["warm"][2])
