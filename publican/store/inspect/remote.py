"""Inspects models at the hub by their headers: range requests of some kilobytes to some megabytes, and nothing is kept.

On the event loop; parsing runs on threads.
"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

from publican.core.errors import ModelFileError
from publican.core.model import Checkpoint, TensorInfo
from publican.store.bounded_json import MAX_CONFIG_BYTES, parse_object
from publican.store.checkpoint import CONFIG, QUANTIZE_CONFIGS, quantization_in
from publican.store.gguf import Gguf, read_header
from publican.store.hub.client import Hub, RepoFile
from publican.store.hub.headers import FIRST_BYTES, PrefixSource, parse_remote
from publican.store.inspect.inspection import FolderParts, Inspection, ListedFile, inspect_folder, inspect_gguf
from publican.store.pull.candidates import Candidate
from publican.store.recognise.hf import SAMPLE_BYTES, samples
from publican.store.safetensors import read_safetensors

_MAX_TEMPLATE_BYTES = 1 << 20
_FEW_SHARDS = 4
_BYTES_OF_A_SHARD = 32 << 10
"""Of the headers of many shards, each is short: 160 of them should not cost 40 MB."""


async def inspect_candidate(hub: Hub, candidate: Candidate) -> Inspection:
    """What `candidate` is.

    Raises:
        ModelFileError: it cannot be had, its headers are damaged, or it is of pickles, which are not looked into.
    """
    snapshot = candidate.snapshot
    if candidate.missing:
        some = ", ".join(candidate.missing[:3])
        raise ModelFileError(f"{snapshot.repo} lacks {len(candidate.missing)} parts of this model ({some}); pull another copy.")
    if candidate.container == "gguf":
        found = await _gguf(hub, candidate)
    elif candidate.container == "safetensors":
        found = await _folder(hub, candidate)
    else:
        raise ModelFileError(f"{snapshot.repo} has pickles, which are not looked into; pull the model as safetensors or GGUF.")
    return dataclasses.replace(
        found,
        licence=snapshot.licence or found.licence,
        base_models=snapshot.base_models or found.base_models,
        files=tuple(ListedFile(file.path, file.num_bytes, file.digest) for file in candidate.files),
        revision=snapshot.revision,
        commit=snapshot.commit,
    )


async def _gguf(hub: Hub, candidate: Candidate) -> Inspection:
    async def header(file: RepoFile) -> Gguf:
        return await parse_remote(
            hub.open(candidate.snapshot, file), lambda source: read_header(source, _label(candidate, file))
        )

    first, *others = await asyncio.gather(*(header(file) for file in candidate.weights))
    tensors = tuple(tensor for part in (first, *others) for tensor in part.tensors)
    whole = dataclasses.replace(first, tensors=tensors)
    return await asyncio.to_thread(inspect_gguf, name_of(candidate), whole)


async def _folder(hub: Hub, candidate: Candidate) -> Inspection:
    async def tensors_of(file: RepoFile) -> dict[str, TensorInfo]:
        def parse(source: PrefixSource) -> dict[str, TensorInfo]:
            return read_safetensors(source, _label(candidate, file))[0]

        return await parse_remote(hub.open(candidate.snapshot, file), parse, first_bytes)

    first_bytes = FIRST_BYTES if len(candidate.weights) <= _FEW_SHARDS else _BYTES_OF_A_SHARD
    read = await asyncio.gather(*(tensors_of(file) for file in candidate.weights))
    tensors = {name: info for part in read for name, info in part.items()}
    wanted = samples(tensors)
    by_label = {_label(candidate, file): file for file in candidate.weights}
    sampled = {}
    for name, info in wanted.items():
        remote = hub.open(candidate.snapshot, by_label[info.file])
        sampled[name] = await remote.read(info.offset, min(SAMPLE_BYTES, info.num_bytes))
    beside = {file.name: file for file in candidate.beside}
    config = await _object(hub, candidate, beside.get(CONFIG))
    quantize = next((beside[name] for name in QUANTIZE_CONFIGS if name in beside), None)
    quantization = quantization_in(config, candidate.snapshot.repo)
    if quantization is None:
        quantization = await _object(hub, candidate, quantize)
    parts = FolderParts(
        config=config,
        quantization=quantization,
        tokenizer_config=await _object(hub, candidate, beside.get("tokenizer_config.json")),
        sampled=sampled,
        files=tuple(beside),
        template=await _text(hub, candidate, beside.get("chat_template.jinja")),
    )
    name = name_of(candidate)
    checkpoint = Checkpoint(name, Path(name), "safetensors", None, tensors)
    return await asyncio.to_thread(inspect_folder, checkpoint, parts)


async def _object(hub: Hub, candidate: Candidate, file: RepoFile | None) -> dict[str, Any]:
    data = await hub.read(candidate.snapshot, file.path, MAX_CONFIG_BYTES) if file else None
    return parse_object(data, f"{candidate.snapshot.repo}/{file.path if file else ''}") if data else {}


async def _text(hub: Hub, candidate: Candidate, file: RepoFile | None) -> str:
    data = await hub.read(candidate.snapshot, file.path, _MAX_TEMPLATE_BYTES) if file else None
    return (data or b"").decode("utf-8", "replace")


def name_of(candidate: Candidate) -> str:
    """As in ``publican pull``."""
    repo = candidate.snapshot.repo
    return f"{repo}:{candidate.label}" if candidate.label else repo


def _label(candidate: Candidate, file: RepoFile) -> Path:
    """What a remote tensor has for a path: no file of this machine is called so."""
    return Path(f"{candidate.snapshot.repo}@{candidate.snapshot.commit[:12]}") / file.path
