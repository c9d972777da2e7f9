"""Filling a hole: a prompt out of what stands before and behind it, for models that were taught that. Event loop only."""

from __future__ import annotations

from dataclasses import replace

from publican.core.backend import Host
from publican.core.errors import Unsupported
from publican.core.request import Request, TextPrompt, TokenPrompt


async def infill_prompt(host: Host, before: str, behind: str, model: str | None = None) -> TokenPrompt:
    """The prompt after which the model writes what belongs between `before` and `behind`.

    Raises:
        Unsupported: this model was not taught to.
    """
    info = await host.describe(None)
    if info.infill is None:
        raise Unsupported(f"{info.name} was not taught to fill holes; send no suffix, or load a model that was (Qwen-Coder).")
    prefix = await host.tokenize(TextPrompt(before, add_bos=False), model)
    suffix = await host.tokenize(TextPrompt(behind, add_bos=False), model)
    marks = info.infill
    beginning = await host.tokenize(TextPrompt("", add_bos=True), model)
    return TokenPrompt((*beginning, marks.prefix, *prefix, marks.suffix, *suffix, marks.middle))


async def with_suffix(host: Host, request: Request, suffix: str) -> Request:
    """`request` as the filling of the hole between its prompt and `suffix`; as it is where there is none."""
    if not suffix or not isinstance(request.prompt, TextPrompt):
        return request
    return replace(request, prompt=await infill_prompt(host, request.prompt.text, suffix, request.model))
