"""Adapters from a setting to answers: which one a request gets, what is refused, and the whole way over HTTP."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from publican.apis.app import create_app
from publican.apis.config import ApiConfig
from publican.cli.serve import adapters_from
from publican.core.errors import InvalidParameter, ModelFileError, OutOfMemory, SettingsError, UnsupportedModel
from publican.core.model import Adapter, ModelSpec
from publican.hardware.machine import described_machine
from publican.host.choose import Available
from publican.host.fake import FakeLibrary
from publican.host.host import ModelHost
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.model import LoadedModel
from publican.host.options import LoadOptions
from publican.store.catalogue import find_model
from publican.store.checkpoint import open_checkpoint
from tests.apis.running import open_door
from tests.executors.native import lora_files
from tests.host.asking import ask


class AdaptedLibrary(FakeLibrary):
    """The fake with two adapters."""

    async def open(self, name: str, options: Any) -> LoadedModel:
        model = await super().open(name, options)
        adapters = tuple(Adapter(each, Path(), "", ()) for each in ("poet", "clerk"))
        model.spec = replace(model.spec, adapters=adapters)
        return model


async def talk(path: str, body: dict[str, Any] | None) -> httpx.Response:
    host = ModelHost(AdaptedLibrary())
    await host.load("fake", {})
    transport = httpx.ASGITransport(app=create_app(host, ApiConfig(), open_door))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await (client.get(path) if body is None else client.post(path, json=body))
    await host.unload()
    return answer


def over_http(path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    return asyncio.run(talk(path, body))


def test_a_request_names_its_adapter_as_such_or_in_place_of_the_model() -> None:
    async def main() -> None:
        host = ModelHost(AdaptedLibrary())
        await host.load("fake", {})

        async def text(**rest: Any) -> str:
            return (await ask(host, "Tell me a story", **rest)).text()

        base, poet, clerk = await text(), await text(adapter="poet"), await text(adapter="clerk")
        assert len({base, poet, clerk}) == 3
        assert await text(model="poet") == poet
        assert await text(model="clerk") == clerk
        assert await text(model="gpt-4") == base  # whatever a client calls it
        assert await text(model="poet", adapter="") == base
        assert await text(model="poet", adapter="clerk") == clerk
        together = await asyncio.gather(*(text(adapter=each) for each in (None, "poet", "clerk", "poet")))
        assert together == [base, poet, clerk, poet]
        with pytest.raises(InvalidParameter, match="no adapter 'baker'; here are: poet, clerk"):
            await text(adapter="baker")
        await host.unload()

    asyncio.run(main())


def test_openai_lists_them_under_their_model_and_answers_with_their_names() -> None:
    listed = over_http("/v1/models").json()["data"]
    assert [(each["id"], each["parent"]) for each in listed[:3]] == [("fake", None), ("poet", "fake"), ("clerk", "fake")]
    assert over_http("/v1/models/poet").json()["parent"] == "fake"
    body = {"prompt": "Tell me a story", "max_tokens": 16, "temperature": 0}
    answers = {name: over_http("/v1/completions", body | {"model": name}).json() for name in ("fake", "poet", "any")}
    assert [answers[name]["model"] for name in answers] == ["fake", "poet", "fake"]
    texts = {name: each["choices"][0]["text"] for name, each in answers.items()}
    assert texts["any"] == texts["fake"] != texts["poet"]


def test_llama_cpp_chooses_by_number() -> None:
    assert over_http("/lora-adapters").json() == [
        {"id": 0, "path": "poet", "scale": 0.0},
        {"id": 1, "path": "clerk", "scale": 0.0},
    ]
    body = {"prompt": "Tell me a story", "n_predict": 16, "temperature": 0}

    def text(*lora: dict[str, Any], **rest: Any) -> str:
        answer = over_http("/completion", body | {"lora": list(lora)} | rest)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["content"])

    base, poet = text(), text(model="poet")
    assert base != poet
    assert text({"id": 0, "scale": 1.0}) == poet
    assert text({"id": 0, "scale": 0.0}, {"id": 1, "scale": 0}) == base
    assert text({"id": 1, "scale": 0.0}, model="poet") == base  # what is not named is not applied
    for wrong in ([{"id": 2, "scale": 1.0}], [{"id": -1, "scale": 1.0}], [{"scale": 1.0}], "poet"):
        assert over_http("/completion", body | {"lora": wrong}).status_code == 400
    for unsupported in ([{"id": 0, "scale": 0.5}], [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 1.0}]):
        assert over_http("/completion", body | {"lora": unsupported}).status_code == 501


def test_ooba_and_tabby_list_them() -> None:
    assert over_http("/v1/internal/lora/list").json() == {"lora_names": ["poet", "clerk"]}
    assert [each["id"] for each in over_http("/v1/loras").json()["data"]] == ["poet", "clerk"]
    refused = over_http("/v1/internal/lora/load", {"lora_names": ["poet"]})
    assert refused.status_code == 400
    assert "--lora" in refused.text


def test_the_setting() -> None:
    found = adapters_from(("poet=/a/b", "/c/clerk", "d/e=f", "~/g"))
    assert [name for name, _ in found] == ["poet", "clerk", "e=f", "g"]
    assert found[2][1] == Path("d/e=f")
    assert found[3][1] == Path("~/g").expanduser()
    for wrong in (("poet=",), ("a=/x", "a=/y"), ("/x/a", "/y/a"), ("=",)):
        with pytest.raises(SettingsError, match="lora"):
            adapters_from(wrong)


# --- the default model


def write(folder: Path, spec: ModelSpec, size: float, inputs: int = 0) -> Path:
    """An adapter of all queries, random; large enough to be heard."""
    rng = np.random.default_rng(1)
    arrays = {}
    for layer in range(spec.num_layers):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        shape_in, shape_out = inputs or spec.hidden_size, spec.num_heads * spec.head_dim
        arrays[f"{stem}.lora_A.weight"] = rng.standard_normal((4, shape_in), np.float32) * np.float32(size)
        arrays[f"{stem}.lora_B.weight"] = rng.standard_normal((shape_out, 4), np.float32) * np.float32(size)
    return lora_files.write(folder, arrays, "BF16")


@pytest.fixture
def folder(default_model: Path, tmp_path: Path) -> Path:
    spec = open_checkpoint(default_model).spec
    assert spec is not None
    write(tmp_path / "poet", spec, 0.3)
    write(tmp_path / "nothing", spec, 0.0)
    write(tmp_path / "stranger", spec, 0.1, inputs=64)
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(default_model, models / "one.gguf")
    (models / "two.gguf").hardlink_to(models / "one.gguf")
    return tmp_path


def library(folder: Path, *names: str, **options: Any) -> ModelLibrary:
    adapters = tuple((name, folder / name) for name in names)
    chosen = LoadOptions(adapters=adapters, context_len=256, max_running=2, num_users=1, **options)
    machine = described_machine((), 8 << 30, 2)
    return ModelLibrary(folder / "models", chosen, ThreadPort, 4, lambda: machine)


def opened(library: ModelLibrary, name: str) -> LoadedModel:
    return library.open_model(find_model(name, library.folder), library._options)


def test_they_are_for_the_first_model_and_counted(folder: Path) -> None:
    with_them, without = library(folder, "poet", "nothing"), library(folder)
    model = opened(with_them, "one")
    assert (model.adapters, model.spec.loader) == (("poet", "nothing"), "native")
    assert model.card.adapters == ("poet", "nothing")
    more = model.spec.planned_bytes[0] - opened(without, "one").spec.planned_bytes[0]
    assert more >= sum(adapter.num_bytes for adapter in model.spec.adapters)
    assert opened(with_them, "two").adapters == ()
    assert opened(with_them, "one").adapters == ("poet", "nothing")


def test_what_is_too_large_for_the_card_goes_to_main_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not to libllama, which would leave the adapters out."""
    everything = Available(cuda=True, cpu=True, llama=True, native_objection=None, is_gguf=True, llama_gpu=True)
    monkeypatch.setattr("publican.host.library.available", lambda checkpoint, machine: everything)
    for card_bytes, backend in ((24 << 30, "cuda"), (400 << 20, "cpu")):
        options = LoadOptions(adapters=(("poet", folder / "poet"),), context_len=256, num_users=1)
        machine = described_machine((card_bytes,), 8 << 30, 2)
        models = ModelLibrary(folder / "models", options, ThreadPort, 4, lambda machine=machine: machine)
        model = opened(models, "one")
        assert (model.spec.loader, model.spec.backend, model.adapters) == ("native", backend, ("poet",))
    assert "main memory has the room" in model.description.why
    with pytest.raises(OutOfMemory, match="GPU 0"):
        models.open_model(find_model("two", models.folder), LoadOptions(loader="native", context_len=256))


def test_what_cannot_be_is_said_before_anything_is_loaded(folder: Path) -> None:
    with pytest.raises(UnsupportedModel, match="stranger does not fit"):
        opened(library(folder, "stranger"), "one")
    with pytest.raises(SettingsError, match="native loader"):
        opened(library(folder, "poet", loader="llama"), "one")
    with pytest.raises(ModelFileError, match="no adapter in"):
        opened(library(folder, "nowhere"), "one")
    (folder / "poet").rename(folder / "one")
    with pytest.raises(SettingsError, match="as the model is"):
        opened(library(folder, "one"), "one")


def test_a_chat_with_the_default_model_over_http(folder: Path) -> None:
    """An adapter of zeros is the model itself; another one is not; both in one batch with it."""

    async def main() -> None:
        host = ModelHost(library(folder, "poet", "nothing"))
        await host.load("one", {})
        transport = httpx.ASGITransport(app=create_app(host, ApiConfig(), open_door))
        body = {"messages": [{"role": "user", "content": "What is a publican?"}], "max_tokens": 12, "temperature": 0}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            names = ("one", "poet", "nothing")
            asked = [client.post("/v1/chat/completions", json=body | {"model": name}) for name in names]
            answers = [each.json() for each in await asyncio.gather(*asked)]
        await host.unload()
        assert [answer["model"] for answer in answers] == list(names)
        base, poet, nothing = (answer["choices"][0]["message"]["content"] for answer in answers)
        assert base == nothing
        assert poet != base

    asyncio.run(asyncio.wait_for(main(), 120))
