"""Hugging Face's two clients of Text Generation Inference: `huggingface_hub`'s, and the older `text-generation`."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import ValidationError

from tests.cli.running import Running


def test_text(server: Running) -> None:
    with InferenceClient(model=server.url, timeout=60) as client:
        asked: Any = {"prompt": "Once upon a", "max_new_tokens": 8, "return_full_text": False}
        whole: Any = client.text_generation(**asked, details=True, top_n_tokens=2)
        assert "".join(token.text for token in whole.details.tokens) == whole.generated_text
        assert all(len(top) >= 2 for top in whole.details.top_tokens)
        events: Any = list(client.text_generation(**asked, stream=True, details=True))
        assert [event.token.text for event in events] == [token.text for token in whole.details.tokens]
        assert (events[-1].generated_text, events[-1].details.finish_reason) == (whole.generated_text, "length")
        with pytest.raises(ValidationError, match="top_p"):
            client.text_generation("x", top_p=1.0)
    with InferenceClient(model=server.url, provider="hf-inference", timeout=60) as client:
        assert client.get_endpoint_info()["max_total_tokens"] == 2_048
        assert client.health_check()


def test_chat(server: Running) -> None:
    hello: Any = [{"role": "user", "content": "Say hello."}]
    with InferenceClient(base_url=f"{server.url}/v1", timeout=60) as client:
        whole = client.chat_completion(hello, max_tokens=8, temperature=0).choices[0].message.content
        chunks = client.chat_completion(hello, max_tokens=8, temperature=0, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole


OLD_CLIENT = """
import json, sys
from text_generation import Client
from text_generation.errors import ValidationError

client = Client(sys.argv[1], timeout=60)
asked = {"prompt": "Once upon a", "max_new_tokens": 6}
whole = client.generate(**asked, decoder_input_details=True, top_n_tokens=2, seed=4, temperature=0.8)
events = list(client.generate_stream(**asked, seed=4, temperature=0.8))
try:
    client.generate("word " * 3000)
    refusal = ""
except ValidationError as error:
    refusal = str(error)
print(json.dumps({
    "text": whole.generated_text,
    "tokens": [token.text for token in whole.details.tokens],
    "prefill": [token.text for token in whole.details.prefill],
    "reason": whole.details.finish_reason,
    "seed": whole.details.seed,
    "streamed": [event.token.text for event in events],
    "last": events[-1].generated_text,
    "refusal": refusal,
}))
"""


@pytest.fixture(scope="session")
def old_python() -> Path:
    """A Python with `text-generation`, whose last release wants a huggingface-hub older than transformers does; made once."""
    folder = Path.home() / ".cache" / "publican-tests" / "text-generation-0.7.0"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / "installed"
    if not stamp.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "text-generation==0.7.0"]
        made = subprocess.run(pip, capture_output=True, text=True, timeout=240, check=False)
        if made.returncode:
            pytest.skip(f"text-generation could not be installed: {made.stderr[-200:]}")
        stamp.touch()
    return python


def test_the_older_client(server: Running, old_python: Path) -> None:
    ran = subprocess.run(
        [str(old_python), "-c", OLD_CLIENT, server.url], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert "".join(said["tokens"]) == said["text"] == said["last"]
    assert said["streamed"] == said["tokens"]
    assert (said["reason"], said["seed"], len(said["tokens"])) == ("length", 4, 6)
    assert "".join(said["prefill"]).endswith("Once upon a")
    assert "`inputs` must have less than 2048 tokens. Given: 3" in said["refusal"]
