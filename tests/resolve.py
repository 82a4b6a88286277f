"""Whether there is a wheel of everything that environment.yml asks for: `python tests/resolve.py [PYTHON VERSION]`.

uv resolves the package with the extra and the lock file named there, for Linux on x86-64, and installs nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
# Without compiled code, and published as sources only.
WITHOUT_WHEELS = ["connection-pool", "langdetect", "rouge-score", "sqlitedict", "word2number"]


def main(version: str = "") -> None:
    """Print the versions that would be installed; say what there is no wheel of, if anything, and fail."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (python,) = [entry for entry in entries if str(entry).startswith("python=")]
    (pip,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    lock, extra = re.fullmatch(r"-c (\S+) -e \.\[(\w+)\]", " ".join(pip)).groups()
    asked = ["--extra", extra, "--constraint", ROOT / lock, ROOT / "pyproject.toml"]
    place = ["--python-version", version or python.partition("=")[2], "--python-platform", "x86_64-manylinux_2_28"]
    wheels = ["--only-binary", ":all:"] + [word for name in WITHOUT_WHEELS for word in ("--no-binary", name)]
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header"]
    certificates = {"SSL_CERT_FILE": os.environ["PIP_CERT"]} if "PIP_CERT" in os.environ else {}
    done = subprocess.run(
        [*command, *place, *wheels, *asked], capture_output=True, text=True, env=os.environ | certificates
    )
    if done.returncode:
        sys.exit(done.stderr)
    print(f"{done.stdout}{len(done.stdout.splitlines())} packages for Python {place[1]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
