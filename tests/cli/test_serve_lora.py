"""`publican serve --lora`: adapters in the worker's own process, chosen by name over a socket, mixed in one batch."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.cli.running import Running, serving
from tests.executors.native import lora_files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

RANK, HIDDEN, HEADS = 4, 576, 576


def folder_of(path: Path, seed: int) -> Path:
    """An adapter of the default model's queries and outputs in its last layers, strong enough to change what it says."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for layer in range(20, 30):
        for module in ("q_proj", "o_proj"):
            stem = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            arrays[f"{stem}.lora_A.weight"] = rng.standard_normal((RANK, HIDDEN), np.float32) * np.float32(HIDDEN**-0.5)
            arrays[f"{stem}.lora_B.weight"] = rng.standard_normal((HEADS, RANK), np.float32)
    return lora_files.write(path, arrays, "BF16", r=RANK, lora_alpha=8)


def said(running: Running, model: str) -> str:
    body = {"model": model, "prompt": "Once upon a time, there was a", "max_tokens": 24, "temperature": 0}
    answer = httpx.post(f"{running.url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


def test_adapters_are_chosen_by_name_and_mixed(default_model: Path, tmp_path: Path) -> None:
    one, other = folder_of(tmp_path / "one", 1), folder_of(tmp_path / "other", 2)
    words = [str(default_model), "--ctx", "1024", "--lora", f"pirate={one}", "--lora", str(other)]
    with serving(tmp_path, *words) as running:
        listed = {each["id"]: each for each in httpx.get(f"{running.url}/v1/models").json()["data"]}
        assert {"pirate", "other"} < set(listed)
        assert listed["pirate"]["parent"] in listed
        names = ("default", "pirate", "other")
        alone = [said(running, name) for name in names]
        assert len(set(alone)) == 3
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(said, [running] * 6, names * 2, timeout=60))
        assert together == alone * 2


def test_an_adapter_that_cannot_be_is_said_before_anything_is_served(default_model: Path, tmp_path: Path) -> None:
    bad = lora_files.write(tmp_path / "bad", {}, use_dora=True)
    with serving(tmp_path, str(default_model), "--ctx", "1024", "--lora", str(bad), wait=False) as running:
        assert running.process.wait(60) != 0
        assert "DoRA" in running.output
        assert "Traceback" not in running.output
