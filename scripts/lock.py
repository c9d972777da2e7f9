#!/usr/bin/env python3
"""Write constraints.txt: what pip would install today for publican, all its extras and its tests: `python3 scripts/lock.py`.

pip resolves and downloads metadata only; nothing is installed. torch and Triton are named here: the CPU build of torch
that pip sees asks for no Triton, and the interpreter of Triton 3.9 refuses what that of 3.7 runs. Use it on Linux x86-64,
the one system on which every extra is to be had; what another system lacks, its constraint does not harm.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# The versions that publican is tested with; `python3 start.py` and `python3 test.py` install exactly these.
# Made by `python3 scripts/lock.py`. The bounds within which others should work are in pyproject.toml.
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1"], check=True)
        report = Path(folder) / "report.json"
        wanted = ["torch==2.13.0", "triton==3.7.1", f"{ROOT}[llama,cuda]", "--group", f"{ROOT}/pyproject.toml:test"]
        subprocess.run([python, "-m", "pip", "install", "--dry-run", "--report", str(report), *wanted], check=True)
        found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    versions = {item["name"].lower().replace("_", "-"): item["version"].split("+")[0] for item in found}
    del versions["publican"]
    (ROOT / "constraints.txt").write_text(HEAD + "".join(f"{name}=={versions[name]}\n" for name in sorted(versions)))


if __name__ == "__main__":
    main()
