"""A server that is asked by Ollama's clients to download a model, which it then serves to them by its name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.cli.running import serving
from tests.store.fake_hub import running_hub

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def test_ollamas_pull(default_model: Path, tmp_path: Path) -> None:
    with running_hub() as hub:
        hub.add("org/smol-GGUF", {"smol.Q4_1.gguf": default_model.read_bytes()})
        env = {"HF_ENDPOINT": hub.endpoint, "PUBLICAN_MODELS_DIR": str(tmp_path / "models"), "NO_PROXY": "127.0.0.1"}
        with serving(tmp_path, str(default_model), "--ctx", "512", "--users", "1", env=env) as server:
            lines = []
            body = {"model": "org/smol-GGUF:Q4_1"}
            with httpx.stream("POST", f"{server.url}/api/pull", json=body, timeout=60) as answer:
                assert answer.status_code == 200
                lines = [json.loads(line) for line in answer.iter_lines() if line]
            counted = [line for line in lines if line.get("total")]
            assert counted, lines
            assert counted, lines
            assert counted[-1]["completed"] == counted[-1]["total"] == default_model.stat().st_size
            assert lines[-1] == {"status": "success"}
            tags = httpx.get(f"{server.url}/api/tags").json()["models"]
            assert "org/smol-GGUF/smol.Q4_1" in {model["name"].removesuffix(":latest") for model in tags}
            refused = httpx.post(f"{server.url}/api/pull", json={"model": "/etc/passwd", "stream": False}, timeout=60)
            assert refused.status_code >= 400
            assert "hub" in refused.json()["error"]
