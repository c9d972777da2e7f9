"""Checks and times the cuda backend on a machine with an NVIDIA card, in under eight minutes, and prints what came of it.

    python scripts/gpu_check.py                    everything
    python scripts/gpu_check.py check              that the kernels are right, and nothing else
    python scripts/gpu_check.py --tiny             on the CPU, to try this script

Needs torch, Triton and NumPy, and no installation: it runs out of the repository. Right means: against float64, on random
numbers, with poisoned outputs. Parts that the time does not suffice for are left out, and said to be.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from publican.bench.kernels import TINY, Ceilings, KernelConfig, decoding_batch, measure_ceilings, time_kernels
from publican.bench.kernels_report import ceilings_text, kernels_text, steps_text
from publican.bench.shape_peers import has_transformers, time_transformers
from publican.bench.shape_times import ShapeConfig, prompt_batch, time_shape
from publican.bench.shapes import lower_repeated, parse_format, random_matrix, random_program, shape_named
from publican.executors.native.cuda.backend import CudaBackend, operations
from publican.executors.native.cuda.config import CudaConfig
from publican.executors.native.cuda.packing import Packer
from publican.executors.native.layout import dequantise

LIMIT_S = 460.0
FORMATS = ("gptq-4-128", "gptq-4-32", "gptq-3-128-act", "gptq-8-row", "gptq-2-64", "awq-4-128", "exl2-4.5", "exl2-2.5", "bf16")
SHAPES = (
    ("llama2-7b", "gptq-4-128"),
    ("llama2-7b", "exl2-4.5"),
    ("llama2-70b", "gptq-4-128"),
    ("llama2-13b", "gptq-4-128"),
    ("llama2-33b", "gptq-4-128"),
    ("llama2-7b", "bf16"),
)


class Run:
    """What was said and found, and how much time is left."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s
        self.failures: list[str] = []
        self.report: dict[str, object] = {}

    @property
    def left_s(self) -> float:
        return self._end - time.monotonic()

    def part(self, name: str, least_s: float, work: Callable[[], None]) -> None:
        """Do a part if there is time for it; what it raises is noted and does not end the run."""
        if self.left_s < least_s:
            print(f"\n== {name}: left out, {self.left_s:.0f} s are left", flush=True)
            return
        print(f"\n== {name}", flush=True)
        begin = time.monotonic()
        try:
            work()
        except Exception:
            traceback.print_exc()
            self.failures.append(name)
        print(f"   {time.monotonic() - begin:.1f} s", flush=True)


def check_matrices(run: Run, config: CudaConfig) -> None:
    """Every format's product for every kernel that its rows choose."""
    device, ops, rng = torch.device(config.devices[0]), operations(config), np.random.default_rng(1)
    for name in FORMATS:
        matrix = random_matrix(rng, (512, 1024), parse_format(name))
        weight, exact = Packer(device, torch.bfloat16, False).pack(matrix), dequantise(matrix).astype(np.float64)
        found = []
        for rows in (1, 2, 3, 16, 33, 64, 65, 300):
            x = torch.from_numpy(rng.standard_normal((rows, 1024)).astype(np.float32)).to(torch.bfloat16).to(device)
            y = torch.full((rows, 512), torch.nan, dtype=torch.float32, device=device)
            if name == "bf16":
                y = y.to(torch.bfloat16)
            ops.linear(x, weight, None, y)
            expected = x.double().cpu().numpy() @ exact.T
            found.append(float(np.linalg.norm(y.double().cpu().numpy() - expected) / np.linalg.norm(expected)))
        good = all(error < 6e-3 for error in found)
        print(f"   {name:16}", " ".join(f"{error:.0e}" for error in found), "" if good else "WRONG", flush=True)
        if not good:
            run.failures.append(f"products of {name}")


def check_models(run: Run, config: CudaConfig) -> None:
    """Whole models against the plain twins on the CPU in float32: a prompt, decoding, replayed decoding."""
    spec = dataclasses.replace(shape_named("tiny"), hidden_size=512, ffn_size=1280, num_heads=8, head_dim=64)
    for name in ("bf16", "gptq-4-128", "exl2-4.5"):
        program = random_program(spec, parse_format(name), 2048)
        twin = CudaConfig(("cpu",), kernels="torch", dtype="f32", kv_dtype="f32", exact_scales=True)
        one, other = (CudaBackend(program, (600, 16), (512, 16), each, lower_repeated) for each in (config, twin))
        held = torch.from_numpy(np.random.default_rng(2).standard_normal(other.caches[0].data.shape).astype(np.float32))
        for backend in (one, other):
            backend.caches[0].data.copy_(held)
        cases = {"prompt": prompt_batch(200), "one": decoding_batch(1, 1500), "five": decoding_batch(5, 700)}
        for case, batch in cases.items():
            expected = other.run(batch)[0].double().numpy()
            for again in range(4):  # computed, captured, replayed twice
                got = one.run(batch)[0].double().cpu().numpy()
                error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
                if not error < 3e-2:
                    run.failures.append(f"{name}, {case}, run {again}: {error:.1e}")
            print(f"   {name:12} {case:8} {error:.1e}", flush=True)
        one.close()
        other.close()


def run_tests(run: Run) -> None:
    """Those tests of the backend that a bare machine can run, compiled instead of interpreted, where pytest is installed."""
    import subprocess

    names = ("packing", "matmul", "rows", "attention", "graphs", "placement", "backend", "windows")
    files = [f"tests/executors/native/cuda/test_{name}.py" for name in names]
    command = [sys.executable, "-m", "pytest", "-q", *files, "-p", "no:randomly", "-o", "addopts=", "-W", "default"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(10.0, run.left_s), check=False)
    print("   " + "\n   ".join(done.stdout.splitlines()[-8:]))
    if done.returncode:
        run.failures.append("the tests")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", nargs="?", choices=("all", "check", "time"), default="all")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds in all")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        print("torch finds no NVIDIA card here; --tiny runs on the CPU.")
        return 2
    run = Run(options.limit)
    config = CudaConfig(("cpu",), kernels="torch", dtype="bf16") if options.tiny else CudaConfig()
    kernel_config = TINY if options.tiny else KernelConfig()
    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}")
    ceilings = measure_ceilings(kernel_config)
    print(ceilings_text(ceilings))
    run.report["ceilings"] = dataclasses.asdict(ceilings)
    if options.what != "time":
        run.part("products against float64", 20, lambda: check_matrices(run, config))
        run.part("models against plain torch", 20, lambda: check_models(run, config))
    if options.what != "check":
        _time(run, config, kernel_config, ceilings, options.tiny)
    if options.what == "all" and not options.tiny:
        run.part("tests", 60, lambda: run_tests(run))
    if os.environ.get("OUT"):
        Path(os.environ["OUT"], "gpu_check.json").write_text(json.dumps(run.report, indent=1))
    print("\nwrong: " + "; ".join(run.failures) if run.failures else "\nnothing was wrong")
    return 1 if run.failures else 0


def _time(run: Run, config: CudaConfig, kernel_config: KernelConfig, ceilings: Ceilings, tiny: bool) -> None:
    def kernels() -> None:
        times = time_kernels(kernel_config, operations(config), ceilings, lambda text: None)
        print(kernels_text(times))
        run.report["kernels"] = [dataclasses.asdict(each) for each in times]

    steps = ShapeConfig(config) if not tiny else ShapeConfig(config, (1, 2), (20,), 40, 2)

    def shape(name: str, how: str) -> None:
        weight_bytes, times = time_shape(shape_named(name), parse_format(how), steps, ceilings, lambda text: None)
        print(steps_text(f"{name} {how}", weight_bytes, times), flush=True)
        run.report[f"{name} {how}"] = [dataclasses.asdict(each) for each in times]

    def peer(name: str) -> None:
        weight_bytes, times = time_transformers(shape_named(name), steps, ceilings, lambda text: None)
        print(steps_text(f"{name}, transformers in bf16", weight_bytes, times), flush=True)
        run.report[f"{name} transformers"] = [dataclasses.asdict(each) for each in times]

    shapes = (("tiny", "gptq-4-32"),) if tiny else SHAPES
    for name, how in shapes[:1]:
        run.part(f"{name} {how}", 30, lambda name=name, how=how: shape(name, how))  # type: ignore[misc]
    run.part("kernels", 40, kernels)
    if has_transformers():
        run.part(f"{shapes[0][0]}, transformers", 45, lambda: peer(shapes[0][0]))
    for name, how in shapes[1:]:
        run.part(f"{name} {how}", 75 if "70b" in name else 45, lambda name=name, how=how: shape(name, how))  # type: ignore[misc]


if __name__ == "__main__":
    sys.exit(main())
