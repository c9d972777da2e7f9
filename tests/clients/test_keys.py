"""Where clients put their key: each finds its way in with the right one, and a clear word with a wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import UnknownError

from tests.cli.running import Running, serving
from tests.clients.sillytavern import SillyTavern, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEY = "sesame-0123456789"
TEXT = "/api/backends/text-completions"
HELLO: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def locked(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("locked"), str(default_model), "--ctx", "1024", "--api-key", KEY) as it:
        yield it


@pytest.fixture(scope="module")
def tavern(locked: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SillyTavern]:
    with running(locked.url, tmp_path_factory.mktemp("tavern")) as it:
        yield it


def test_python_clients(locked: Running) -> None:
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key=KEY, max_retries=0) as asks:
        assert asks.models.list().data
        with pytest.raises(openai.AuthenticationError, match="key"):
            asks.with_options(api_key="wrong").models.list()
    with anthropic.Anthropic(base_url=locked.url, api_key=KEY, max_retries=0) as asks_too:
        assert asks_too.messages.create(model="m", max_tokens=4, messages=HELLO).content
        with pytest.raises(anthropic.AuthenticationError, match="key"):
            asks_too.with_options(api_key="wrong").messages.create(model="m", max_tokens=4, messages=HELLO)
    with InferenceClient(model=locked.url, token=KEY, timeout=60) as asks_for_text:
        assert asks_for_text.text_generation("Hi", max_new_tokens=2)
    with InferenceClient(model=locked.url, token="wrong", timeout=60) as wrong, pytest.raises(UnknownError, match="key"):
        wrong.text_generation("Hi", max_new_tokens=2)


def test_ollama_has_its_key_in_a_header_or_in_the_address(locked: Running) -> None:
    with ollama.Client(host=locked.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as headed:
        assert headed.chat("m", HELLO, options={"num_predict": 3}).message.content
    with ollama.Client(host=f"{locked.url}/key/{KEY}", timeout=60) as addressed:
        assert addressed.list().models
    with ollama.Client(host=locked.url, timeout=60) as keyless, pytest.raises(ollama.ResponseError, match="key"):
        keyless.list()


@pytest.mark.parametrize("kind", ["ooba", "koboldcpp", "llamacpp", "vllm", "tabby", "aphrodite", "huggingface", "generic"])
def test_sillytavern(tavern: SillyTavern, kind: str) -> None:
    who = {"api_server": tavern.upstream, "api_type": kind}
    asked = {**who, "prompt": "Hi", "max_tokens": 3, "n_predict": 3, "model": "any", "stream": False}
    if kind != "huggingface":  # there /info is open, as at Hugging Face's own
        assert tavern.post(f"{TEXT}/status", who).status_code == 400
    assert "key" in tavern.post(f"{TEXT}/generate", asked).json()["response"]
    stored = tavern.post("/api/secrets/write", {"key": f"api_key_{kind}", "value": KEY, "label": "t"}).json()
    try:
        assert tavern.post(f"{TEXT}/status", who).status_code == 200
        answer = tavern.post(f"{TEXT}/generate", asked).json()
        assert "error" not in answer, answer
    finally:
        tavern.post("/api/secrets/delete", {"key": f"api_key_{kind}", "id": stored["id"]})


def test_sillytavern_s_ollama_has_no_place_for_a_key_but_the_address(tavern: SillyTavern) -> None:
    who = {"api_server": f"{tavern.upstream}/key/{KEY}", "api_type": "ollama"}
    assert "SmolLM2" in tavern.post(f"{TEXT}/status", who).json()["result"]
    answer = tavern.post(f"{TEXT}/generate", {**who, "prompt": "Hi", "num_predict": 3, "model": "any", "stream": False}).json()
    assert answer["response"]
    assert tavern.post(f"{TEXT}/status", {**who, "api_server": tavern.upstream}).status_code == 400


def test_kobold_classic_has_none_either(tavern: SillyTavern) -> None:
    status = tavern.post("/api/backends/kobold/status", {"api_server": f"{tavern.upstream}/key/{KEY}/api"}).json()
    assert "SmolLM2" in status["model"]
    asked = {"prompt": "Hi", "gui_settings": True, "max_length": 3, "max_context_length": 512, "streaming": False}
    answer = tavern.post("/api/backends/kobold/generate", {**asked, "api_server": f"{tavern.upstream}/key/{KEY}/api"}).json()
    assert answer["results"][0]["text"]
