"""`scripts/gpu_check.py` runs from end to end; what it finds on a processor means nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.py"


def test_it_times_and_writes_its_report(tmp_path: Path) -> None:
    names = ["array_api_compat", "click", "rich", "psutil", "httpx", "pydantic"]
    banned = f"import sys\nfor name in {names}: sys.modules[name] = None\n"
    run = f"sys.argv = ['gpu_check.py', 'time', '--tiny']\nimport runpy\nrunpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    environment = os.environ | {"OUT": str(tmp_path)}
    command = [sys.executable, "-c", banned + run]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was wrong" in done.stdout
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert {"ceilings", "kernels", "tiny gptq-4-32", "tiny transformers"} <= report.keys()
