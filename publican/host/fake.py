"""A host with the fake model: everything is real but the weights. For tests, demonstrations and load tests of the front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from publican.core.errors import ModelNotFound
from publican.executors.fake import FAKE_VOCABULARY
from publican.host.byte_tokenizer import ByteTokenizer, ChatML
from publican.host.in_process import ThreadPort
from publican.host.model import LoadedModel, ModelDescription
from publican.host.options import WorkerSpec
from publican.host.port import EnginePort
from publican.host.prompts import Prompter


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

    def names(self) -> tuple[str, ...]:
        return tuple(self._specs)

    async def open(self, name: str, options: Mapping[str, Any]) -> LoadedModel:
        if name not in self._specs:
            raise ModelNotFound(name, self.names())
        return fake_model(name, self._specs[name], self._make_port)
