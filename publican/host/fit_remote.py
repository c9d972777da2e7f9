"""The shape of a model at the hub, from headers fetched by range requests: nothing is downloaded. Event loop only."""

from __future__ import annotations

from publican.core.errors import Unsupported, UnsupportedModel
from publican.core.model import Checkpoint
from publican.store.http.network import Network
from publican.store.http.session import Session
from publican.store.hub.client import Hub
from publican.store.hub.reference import HubReference, PathReference, parse_source
from publican.store.inspect.remote import inspect_candidate
from publican.store.pull.appraise import Judge, appraise
from publican.store.pull.find import find


async def remote_checkpoint(source: str, network: Network, judge: Judge) -> tuple[Checkpoint, str]:
    """The headers of what `publican pull SOURCE` would take, and why it would take that one.

    Raises:
        InvalidParameter: the source means nothing, or no such thing is there.
        Unsupported: it is no repository of the hub. UnsupportedModel: it holds no language model.
        ModelFileError, OutOfMemory
    """
    reference = parse_source(source, network.endpoint)
    if isinstance(reference, PathReference):
        raise Unsupported(f"There is no file or folder {str(reference.path)!r:.120}; 'publican list' has the models here.")
    if not isinstance(reference, HubReference):
        raise Unsupported(f"{source!r:.80} is neither here nor a repository of the hub; pull it first.")
    async with Session(network) as session:
        hub = Hub(session)
        choice = await appraise(hub, await find(hub, reference), judge, anyway=True)
        inspection = await inspect_candidate(hub, choice.row.candidate)
    if inspection.kind != "language model":
        raise UnsupportedModel(f"{source:.80} is no language model ({inspection.kind}); there is nothing to plan.")
    return inspection.checkpoint, choice.reason
