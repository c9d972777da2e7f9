"""What the native executor and its benches need: a bare machine with an NVIDIA card has little more than torch."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {banned}:
            raise ImportError(f"{{name}} is not on a bare machine")

sys.meta_path.insert(0, Refuse())
for name in {modules}:
    __import__(name)
print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {{"torch", "triton"}}))
"""
_BANNED = {
    "array_api_compat", "click", "rich", "httpx", "pydantic", "jinja2", "starlette", "uvicorn", "psutil", "llguidance",
    "llama_cpp", "gguf", "websockets", "prometheus_client",
}  # fmt: skip


def loaded(*modules: str) -> list[str]:
    """Which of torch and Triton are loaded after importing modules, where nothing beyond the allowed is installed."""
    script = _SCRIPT.format(banned=_BANNED, modules=modules)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()


def test_the_native_executor_loads_no_torch() -> None:
    assert loaded("publican.executors.native", "publican.executors.native.loading", "publican.executors.native.plain") == []


def test_the_cuda_backend_loads_no_triton_before_there_are_kernels_to_run() -> None:
    assert loaded("publican.executors.native.cuda") == ["torch"]


def test_kernels_and_store_need_nothing_else() -> None:
    assert loaded("publican.executors.native.cuda.kernels", "publican.store.checkpoint") == ["torch", "triton"]
