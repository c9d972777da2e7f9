"""Which candidates a reference means: a commit's, those of a quant, of a branch, of one file. On the event loop."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from publican.core.errors import InvalidParameter, ModelFileError
from publican.store.gguf_parts import split_name
from publican.store.hub.client import Hub, RepoFile, Snapshot
from publican.store.hub.reference import HubReference
from publican.store.pull.candidates import Candidate, candidates
from publican.store.quant_names import quant_of

_MAX_BRANCHES = 32


async def find(hub: Hub, reference: HubReference, quant: str | None = None, file: str | None = None) -> tuple[Candidate, ...]:
    """The models that could be meant; one if it was said which.

    Raises:
        InvalidParameter: what was named is not there; the text says what is.
        ModelFileError: the hub refuses, or there is no model in the repository.
    """
    snapshot = await hub.snapshot(reference.repo, reference.revision or "main")
    wanted = file or reference.file
    if wanted is not None:
        return (_with_file(snapshot, wanted),)
    found = candidates(snapshot)
    selector = quant or reference.selector
    if selector is not None:
        return await _selected(hub, snapshot, found, selector)
    if not found and reference.revision is None:
        found = await _of_branches(hub, snapshot.repo)
    if not found:
        raise ModelFileError(_nothing(snapshot))
    return found


async def _selected(hub: Hub, snapshot: Snapshot, found: Sequence[Candidate], selector: str) -> tuple[Candidate, ...]:
    exact = [one for one in found if one.label.lower() == selector.lower()]
    if matching := exact or [one for one in found if one.answers_to(selector)]:
        return tuple(matching)
    revisions = await hub.revisions(snapshot.repo)
    branch = next((name for name in revisions if name.lower() == selector.lower()), None)
    if branch is not None:
        of_branch = candidates(await hub.snapshot(snapshot.repo, branch))
        if not of_branch:
            raise ModelFileError(f"The branch {branch} of {snapshot.repo} holds no model; pull another.")
        return of_branch
    names = [one.label for one in found if one.label] + [name for name in revisions if name != "main"]
    has = f"it has {', '.join(names[:24])}" if names else "it has only one"
    raise InvalidParameter("source", f"{snapshot.repo} has neither a quant nor a branch {selector!r:.60}; {has}.")


async def _of_branches(hub: Hub, repo: str) -> tuple[Candidate, ...]:
    """Each branch is a quant: EXL2's and EXL3's way."""
    names = [name for name in await hub.revisions(repo) if name != "main"][:_MAX_BRANCHES]
    snapshots = await asyncio.gather(*(hub.snapshot(repo, name) for name in names))
    return tuple(sorted((one for each in snapshots for one in candidates(each)), key=lambda one: one.num_bytes))


def _with_file(snapshot: Snapshot, name: str) -> Candidate:
    """The candidate that one file makes, with all its parts."""
    files = [file for file in snapshot.files if name in (file.path, file.name)]
    if not files:
        here = [file.path for file in snapshot.files if file.path.endswith((".gguf", ".safetensors"))]
        has = f"it has {', '.join(here[:12])}" if here else "it has neither GGUF nor safetensors"
        raise InvalidParameter("file", f"{snapshot.repo} has no file {name!r:.120}; {has}.")
    (file, *others) = files
    if others:
        raise InvalidParameter(
            "file", f"{snapshot.repo} has several files {name!r:.80}: {file.path}, {others[0].path}; say which."
        )
    found = next((one for one in candidates(snapshot) if file in one.weights), None)
    if found is not None and (found.container == "gguf" or len(found.weights) > 1):
        return found
    if file.name.lower().endswith(".gguf"):
        return Candidate(snapshot, "gguf", quant_of(file.name) or file.name, _parts(snapshot, file), is_model=False)
    if found is not None:
        return found
    if file.name.endswith(".safetensors"):
        stem = file.name.removesuffix(".safetensors")
        return dataclasses.replace(_like(snapshot), label=stem, weights=(file,), missing=())
    raise InvalidParameter("file", f"{name!r:.120} is neither GGUF nor safetensors, which are all that publican pulls.")


def _like(snapshot: Snapshot) -> Candidate:
    """A safetensors candidate of the repository, for what belongs beside its weights."""
    found = next((one for one in candidates(snapshot) if one.container == "safetensors"), None)
    return found or Candidate(snapshot, "safetensors", "", ())


def _parts(snapshot: Snapshot, file: RepoFile) -> tuple[RepoFile, ...]:
    split = split_name(file.name)
    if split is None:
        return (file,)
    folder = file.path[: -len(file.name)]
    return tuple(other for other in snapshot.files if other.path.startswith(folder) and _same(split_name(other.name), split))


def _same(one: tuple[str, int, int] | None, other: tuple[str, int, int]) -> bool:
    return one is not None and (one[0], one[2]) == (other[0], other[2])


def _nothing(snapshot: Snapshot) -> str:
    base = next((name for name in snapshot.base_models if "/" in name), "")
    other = f"; it is made from {base}, so try that" if base else "; look for a repository with GGUF or safetensors files"
    return f"{snapshot.repo} holds no model that publican knows ({len(snapshot.files)} other files){other}."
