"""What the hub can refuse, against a local server that answers as the hub does; and what does not fit a GPU."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from mathtransfer.miniature import vocabulary
from mathtransfer.models import checkpoints, engines

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = json.dumps({"model_type": "qwen3"}).encode()


class Hub(BaseHTTPRequestHandler):
    """Knows `owner/open` at its main branch; `owner/gated` is gated, any other repository does not exist."""

    def do_HEAD(self):
        _, owner, name, _, revision, *_ = self.path.removeprefix("/datasets").split("/")
        if name == "gated":
            self.refuse(403, "GatedRepo")
        elif (owner, name) != ("owner", "open"):
            self.refuse(404, "RepoNotFound")
        elif revision not in ("main", COMMIT):
            self.refuse(404, "RevisionNotFound")
        else:
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", str(len(CONFIG)))
            self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(CONFIG)

    def refuse(self, status: int, code: str):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def commits(address: str, cache, *asked: tuple) -> list[str]:
    """What `resolve_commit` gives or says for each, in a process of its own: the hub's address is read at import.

    Nobody waits between two tries of a hub that does not answer.
    """
    script = """
import json, sys, time
time.sleep = lambda seconds: None
from mathtransfer.models import hub
for asked in json.loads(sys.argv[1]):
    try:
        print(hub.resolve_commit(*asked))
    except OSError as error:
        print(type(error).__name__, error, sep=": ")
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", script, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_commits_and_refusals(address, tmp_path):
    asked = [
        ("owner/open", None),
        ("owner/open", "main", "dataset"),
        ("owner/gated", None),
        ("owner/open", "v9"),
        ("owner/none", None, "dataset"),
    ]
    found = commits(address, tmp_path, *asked)
    assert found[:2] == [COMMIT, COMMIT]
    assert found[2].startswith("PermissionError: the model owner/gated is gated: accept its terms on the hub")
    assert found[3] == "FileNotFoundError: there is no model owner/open at revision 'v9' on the hub: check the revision"
    assert found[4].startswith("FileNotFoundError: there is no dataset owner/none on the hub: check its name")


def test_an_unreachable_hub(address, tmp_path):
    nowhere = "http://127.0.0.1:9"
    (message,) = commits(nowhere, tmp_path, ("owner/open", None))
    assert message.startswith("ConnectionError: the hub cannot be reached and the model owner/open is not in the local")
    assert commits(address, tmp_path, ("owner/open", None)) == [COMMIT]
    assert commits(nowhere, tmp_path, ("owner/open", None)) == [COMMIT]  # from the cache


# --- memory


@pytest.fixture
def folder(tmp_path):
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=500, num_key_value_heads=2, head_dim=16, **sizes))
    model.save_pretrained(tmp_path)
    return str(tmp_path), model


def test_memory_is_estimated_before_loading(folder):
    """Weights, and the keys and values that the model itself keeps: half a token too few are refused."""
    name, model = folder
    with torch.no_grad():
        cache = model(torch.zeros(1, 100, dtype=torch.long), use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    needed = sum(weight.nbytes for weight in model.parameters()) + kept
    checkpoints.check_memory(name, torch.float32, 100, needed)
    with pytest.raises(
        MemoryError, match=r"and there are 0\.0 GiB free on the GPU: take a smaller model, a smaller budget, or vLLM"
    ):
        checkpoints.check_memory(name, torch.float32, 100, needed - kept // 200)
    exact = model.lm_head.weight.nbytes  # engines keep the output projection in float32
    checkpoints.check_memory(name, torch.bfloat16, 100, needed // 2 + exact)
    with pytest.raises(MemoryError):
        checkpoints.check_memory(name, torch.bfloat16, 100, needed // 2 + exact - kept // 200)


def test_a_full_gpu_is_told_of_before_loading(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1000, 2000))
    monkeypatch.setattr(
        checkpoints.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("it was loaded")
    )
    with pytest.raises(MemoryError, match=r"0\.00 billion parameters in torch\.float32"):
        checkpoints.load_model(folder[0])


def test_gpus_that_share_a_model_are_counted_before_vllm_loads_it(folder, monkeypatch):
    needed = sum(weight.nbytes for weight in folder[1].parameters())  # without a token's keys and values
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (needed, needed))
    loaded = pytest.raises(RuntimeError, match="it was loaded")
    refused = pytest.raises(MemoryError, match=r"free on the GPU: .* or vLLM with a larger tensor_parallel_size")

    def load(**_):
        raise RuntimeError("it was loaded")

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=load))
    tokenizer = vocabulary.build_tokenizer()
    tokenizer.save_pretrained(folder[0])
    for gpus, outcome in {1: refused, 2: loaded}.items():
        with outcome:
            engines.load_engine("vllm", folder[0], budget=64, options={"tensor_parallel_size": gpus})


def test_precision_fits_the_device(folder, monkeypatch):
    config = checkpoints.load_config(folder[0])
    assert checkpoints.chosen_dtype(config) == torch.float32
    config.dtype = torch.bfloat16
    assert checkpoints.chosen_dtype(config) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, expected in {(7, 5): torch.float16, (8, 0): torch.bfloat16}.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert checkpoints.chosen_dtype(config) == expected
    for name in ("float12", "int8", "nn"):
        with pytest.raises(ValueError, match=f"unknown dtype '{name}': expected auto, float32, bfloat16 or float16"):
            checkpoints.chosen_dtype(config, name)
