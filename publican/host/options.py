"""What a host may decide about loading a model, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from publican.core.model import Adapter, Checkpoint, Rope
from publican.core.tokenizer import Vocabulary
from publican.engine.budget import BudgetConfig
from publican.host.choose_rope import RopeWish

Loader = Literal["auto", "native", "llama", "fake"]
NativeBackend = Literal["auto", "plain", "cpu", "cuda"]
KVType = Literal["auto", "f32", "f16", "bf16", "q8", "q4"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a person can choose; None and ``auto`` leave it to publican.

    Attributes:
        loader: which executor; `backend` is native's.
        context_len: tokens one conversation may hold; None is the model's own, or what fits.
        num_users: conversations that should have room at full length side by side.
        max_running: answers computed together at most; None is what room and processor carry.
        threads: compute threads; None is the number of physical cores.
        gpu_layers: layers libllama puts on GPUs; None is as many as fit, -1 is all.
        gpu_split: GB of each GPU that layers and their cache may take; empty is what is free.
        rope: how positions are stretched.
        speculate: whether coming tokens are guessed; left alone, where confirming several costs little more than one.
        draft_model: a smaller model with the same tokens that guesses coming ones, by its name; empty for none.
        adapters: names and folders of the LoRA adapters to load with the model.
        quality: slower and more exact arithmetic where a backend has the choice.
        target_ms: how much longer a step may take for prompts while others are being answered.
        chat_template, tool_calls, thoughts: in place of what the model's own files say; see `model_settings`. Empty for none.
        templates_dir, presets_dir: the host's own chat templates and sampler presets.
    """

    loader: Loader = "auto"
    backend: NativeBackend = "auto"
    context_len: int | None = None
    num_users: int = 4
    max_running: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    gpu_split: tuple[float, ...] = ()
    rope: RopeWish = field(default_factory=RopeWish)
    kv_type: KVType = "auto"
    speculate: Literal["auto", "ngram", "off"] = "auto"
    draft_model: str = ""
    adapters: tuple[tuple[str, Path], ...] = ()
    quality: bool = False
    target_ms: float = 60.0
    chat_template: str = ""
    tool_calls: str = ""
    thoughts: str = ""
    templates_dir: Path | None = None
    presets_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything a worker needs, decided: it reads no settings and parses no header.

    Attributes:
        loader, backend: never ``auto`` here.
        num_tokens: room in the KV cache, in tokens of all conversations together.
        num_slots: sequences that memory may know at once, running and cached.
        max_batch_tokens: tokens in one step at most.
        gpu_layers: -1 is all.
        gpu_split: each GPU's GB (native) or share (libllama); empty leaves it to the executor.
        rope: positions other than the file's own; None is the file's.
        max_guessing: see `Engine`.
        is_encoder: it reads whole texts and writes none.
        planned_bytes: of main memory, and of GPUs, when loading has ended; 0 where nobody planned.
        draft: the model that guesses for this one, in the same worker; None for none.
        adapters: in the order of the numbers that jobs call them by.
    """

    loader: Loader
    backend: NativeBackend
    checkpoint: Checkpoint | None
    vocabulary: Vocabulary
    context_len: int
    num_tokens: int
    num_slots: int
    max_running: int
    max_batch_tokens: int
    threads: int
    gpu_layers: int = -1
    gpu_split: tuple[float, ...] = ()
    rope: Rope | None = None
    kv_type: KVType = "auto"
    quality: bool = False
    planned_bytes: tuple[int, int] = (0, 0)
    max_guessing: int = 0
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    is_encoder: bool = False
    fake_step_s: float = 0.0
    draft: WorkerSpec | None = None
    adapters: tuple[Adapter, ...] = ()
