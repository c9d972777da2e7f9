"""A host with the fake model: everything is real but the weights. For tests, demonstrations and load tests of the front."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from publican.core.backend import ModelCard, PullProgress
from publican.core.errors import ModelNotFound, Unsupported
from publican.core.model_info import ModelInfo
from publican.executors.fake import FAKE_VOCABULARY
from publican.host.byte_tokenizer import ByteTokenizer, ChatML
from publican.host.in_process import ThreadPort
from publican.host.model import LoadedModel, ModelDescription
from publican.host.options import WorkerSpec
from publican.host.port import EnginePort
from publican.host.prompts import Prompter

_FIXED = "These models are made up and have no files; start the server with a models folder."


def fake_spec(context_len: int = 2_048, step_s: float = 0.0) -> WorkerSpec:
    return WorkerSpec(
        loader="fake",
        backend="plain",
        checkpoint=None,
        vocabulary=FAKE_VOCABULARY,
        context_len=context_len,
        num_tokens=8 * context_len,
        num_slots=64,
        max_running=32,
        max_batch_tokens=512,
        threads=1,
        fake_step_s=step_s,
    )


def fake_model(
    name: str = "fake",
    spec: WorkerSpec | None = None,
    make_port: Callable[[], EnginePort] = ThreadPort,
    max_waiting: int = 256,
) -> LoadedModel:
    """A model that speaks lower-case nonsense, not yet started."""
    spec = spec or fake_spec()
    prompter = Prompter(ByteTokenizer(), ChatML(), spec.context_len)
    return LoadedModel(ModelDescription(name, 0, "fake", "asked for"), spec, prompter, make_port, max_waiting)


class FakeLibrary:
    """Models `fake` and `fake-slow`."""

    def __init__(self, make_port: Callable[[], EnginePort] = ThreadPort) -> None:
        self._make_port = make_port
        self._specs = {"fake": fake_spec(), "fake-slow": fake_spec(step_s=0.05)}

    async def names(self) -> tuple[str, ...]:
        return tuple(self._specs)

    async def cards(self) -> tuple[ModelCard, ...]:
        return tuple(ModelCard(name, 0, False) for name in self._specs)

    async def open(self, name: str, options: Mapping[str, Any]) -> LoadedModel:
        self._check(name)
        return fake_model(name, self._specs[name], self._make_port)

    async def describe(self, name: str) -> ModelInfo:
        self._check(name)
        return ModelInfo(name, "fake", "fake", vocab_size=FAKE_VOCABULARY.size, chat_template=ChatML.source, eos="<|im_end|>")

    async def pull(self, source: str) -> AsyncIterator[PullProgress]:
        raise Unsupported(_FIXED)
        yield

    async def delete(self, name: str) -> None:
        self._check(name)
        raise Unsupported(_FIXED)

    async def copy(self, name: str, new_name: str) -> None:
        self._check(name)
        raise Unsupported(_FIXED)

    def _check(self, name: str) -> None:
        if name not in self._specs:
            raise ModelNotFound(name, tuple(self._specs))
