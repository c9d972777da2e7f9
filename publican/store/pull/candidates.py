"""Which models a repository holds, by the names and sizes of its files. Pure.

One quant of a GGUF repository is a candidate, all shards of a safetensors model are one, and so are its pickles, which
nobody takes who did not ask for them. What is no model (projectors, adapters of others, copies for other programs) is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from publican.store.gguf_parts import split_name
from publican.store.hub.client import RepoFile, Snapshot
from publican.store.quant_names import is_projector, quant_of

Container = Literal["gguf", "safetensors", "pickle"]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_NOT_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|rng_state|scaler|random_states|global_step).*", re.IGNORECASE)
_NOT_MODELS = ("consolidated", "adapter_model")
_OTHER_PROGRAMS = ("onnx", "openvino", "original", "coreml", "metal", "mlx", "runs", "checkpoint-", "global_step")
_BESIDE = re.compile(
    r"[^/]*\.json|tokenizer\.model(\.v\d)?|[^/]*\.tiktoken|(merges|vocab|added_tokens)\.txt|[^/]*\.jinja|(LICENSE|NOTICE|USE_POLICY)[^/]*",
    re.IGNORECASE,
)
_NOT_BESIDE = re.compile(
    r".*\.(bin|msgpack|h5)\.index\.json|measurement\.json|job_new\.json|trainer_state\.json", re.IGNORECASE
)
_MAX_BESIDE_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be taken.

    Attributes:
        label: what tells it from the others of its repository: ``Q4_K_M``, a branch, a name of a file; may be empty.
        weights: its files in order; `missing` are parts that should be there and are not.
        beside: configurations and tokenizers that belong to it.
        is_model: not a projector, or another GGUF file that was asked for by its name and is taken as it is.
    """

    snapshot: Snapshot
    container: Container
    label: str
    weights: tuple[RepoFile, ...]
    beside: tuple[RepoFile, ...] = ()
    missing: tuple[str, ...] = ()
    is_model: bool = True

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.weights)

    @property
    def files(self) -> tuple[RepoFile, ...]:
        """With the configuration last: a folder is a model only when it is there."""
        return (*self.weights, *sorted(self.beside, key=lambda file: (file.name == "config.json", file.path)))

    def answers_to(self, selector: str) -> bool:
        """Whether `selector` names it: its label, however written, or the beginning of it."""
        label, wanted = self.label.lower().removeprefix("ud-"), selector.lower().removeprefix("ud-")
        return label == wanted or label.startswith((f"{wanted}_", f"{wanted}-"))


def candidates(snapshot: Snapshot) -> tuple[Candidate, ...]:
    """Every model of the commit, the smallest first within its kind."""
    found = [*_ggufs(snapshot), *_safetensors(snapshot), *_pickles(snapshot)]
    return tuple(sorted(found, key=lambda one: (one.container, one.num_bytes)))


def _ggufs(snapshot: Snapshot) -> list[Candidate]:
    groups: dict[str, list[RepoFile]] = {}
    for file in snapshot.files:
        lowered = file.name.lower()
        if lowered.endswith(".gguf") and not is_projector(file.name) and "imatrix" not in lowered:
            split = split_name(file.name)
            stem = split[0] if split else file.name[: -len(".gguf")]
            groups.setdefault(file.path[: -len(file.name)] + stem, []).append(file)
    labels = [quant_of(stem.rsplit("/", 1)[-1]) or quant_of(stem) for stem in groups]
    found = []
    for (stem, files), label in zip(groups.items(), labels, strict=True):
        own = label if label and labels.count(label) == 1 else stem.rsplit("/", 1)[-1]
        files.sort(key=lambda file: file.path)
        found.append(Candidate(snapshot, "gguf", own, tuple(files), missing=_missing_parts(files)))
    return found


def _missing_parts(files: list[RepoFile]) -> tuple[str, ...]:
    split = split_name(files[0].name)
    if split is None:
        return ()
    stem, _, count = split
    here = {file.name.lower() for file in files}
    names = (f"{stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))
    return tuple(name for name in names if name.lower() not in here)


def _safetensors(snapshot: Snapshot) -> list[Candidate]:
    """Those of the root; of folders only where the root has none."""
    files = [
        file for file in snapshot.files if file.name.endswith(".safetensors") and not file.path.startswith(_OTHER_PROGRAMS)
    ]
    adapters = [file for file in files if file.name.startswith("adapter_model")]
    files = [file for file in files if not file.name.startswith(_NOT_MODELS)]
    root = [file for file in files if "/" not in file.path]
    groups: dict[str, list[RepoFile]] = {}
    for file in root or files or adapters:
        match = _SHARD.fullmatch(file.path)
        groups.setdefault(match["stem"] if match else file.path.removesuffix(".safetensors"), []).append(file)
    main = _main(groups, snapshot)
    if main is not None:
        groups = {main: groups[main]}
    branch = "" if snapshot.revision == "main" else snapshot.revision
    found = []
    for stem, shards in groups.items():
        folder, _, name = stem.rpartition("/")
        label = branch if len(groups) == 1 and not folder else folder if _only_one_in(folder, groups) else name
        shards.sort(key=lambda file: file.path)
        beside = tuple(file for file in _beside(snapshot, folder))
        found.append(Candidate(snapshot, "safetensors", label, tuple(shards), beside, _missing_shards(shards)))
    return found


def _main(groups: dict[str, list[RepoFile]], snapshot: Snapshot) -> str | None:
    """Which of several in the root is the model itself, by the names that everybody uses."""
    if "model" in groups:
        return "model"
    return next(iter(groups)) if len(groups) == 1 else None


def _only_one_in(folder: str, groups: Iterable[str]) -> bool:
    return bool(folder) and sum(stem.rpartition("/")[0] == folder for stem in groups) == 1


def _missing_shards(shards: list[RepoFile]) -> tuple[str, ...]:
    matches = [match for shard in shards if (match := _SHARD.fullmatch(shard.name))]
    if not matches or len(matches) < len(shards):
        return ()
    stem, count = matches[0]["stem"], min(int(matches[0]["count"]), 10_000)
    here = {shard.name for shard in shards}
    names = (f"{stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1))
    return tuple(name for name in names if name not in here)


def _beside(snapshot: Snapshot, folder: str) -> list[RepoFile]:
    """What belongs to the weights in `folder`: its own files, and of the root those that it has not."""
    fitting = [
        file
        for file in snapshot.files
        if _BESIDE.fullmatch(file.name) and not _NOT_BESIDE.fullmatch(file.name) and file.num_bytes <= _MAX_BESIDE_BYTES
    ]
    by_name = {file.name: file for file in fitting if "/" not in file.path}
    by_name |= {file.name: file for file in fitting if folder and file.path == f"{folder}/{file.name}"}
    return list(by_name.values())


def _pickles(snapshot: Snapshot) -> list[Candidate]:
    files = [
        file
        for file in snapshot.files
        if "/" not in file.path and file.name.endswith(_PICKLES) and not _NOT_WEIGHTS.fullmatch(file.name)
    ]
    return [Candidate(snapshot, "pickle", "pickle", tuple(files), tuple(_beside(snapshot, "")))] if files else []
