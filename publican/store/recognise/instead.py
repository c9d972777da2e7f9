"""What to pull in place of what cannot be run: one sentence, or none. Pure.

What runs is the executors' knowledge and comes in as `objection`; this file knows what people can do about the rest.
"""

from __future__ import annotations

from publican.store.recognise.kind import Kind

_KINDS: dict[Kind, str] = {
    "reranker or classifier": "It scores texts and does not answer; pull a language model (an instruct or chat one)",
    "projector": "It is the part of a model that sees, which publican does not run; pull the model's own file",
    "importance matrix": "It is what a quantiser used, and no model; pull one of the repository's other files",
    "vocabulary": "It is a vocabulary without a model; pull one of the repository's other files",
    "translator or encoder-decoder": "It reads with one half and writes with the other, which publican does not run; pull a "
    "decoder such as a Llama, Qwen, Gemma or Mistral",
    "image or sound model": "It is not a model of text, which is all that publican runs; pull a language model",
}


def instead(kind: Kind, objection: str | None, base_models: tuple[str, ...] = ()) -> str:
    """Why this cannot be run and what to pull instead; empty if it can.

    Args:
        objection: of the executors, None for none.
        base_models: what it was made from, as far as it says.
    """
    base = next((name for name in base_models if "/" in name), "")
    if kind == "LoRA adapter":
        what = f"pull {base}, which it changes" if base else "pull the model that it changes"
        return f"It is a LoRA adapter and no model; {what}, and load its folder with that: publican serve MODEL --lora FOLDER."
    if kind in _KINDS:
        return _KINDS[kind] + "."
    if not objection:
        return ""
    if kind == "embedding model":
        objection = f"It turns texts into vectors, and not here: {objection}"
    return f"{objection.rstrip('.')}{f' (it is made from {base})' if base and base not in objection else ''}."


def instead_of_pickle(repo: str, base_models: tuple[str, ...] = ()) -> str:
    """For a model that is there as pickles only."""
    base = next((name for name in base_models if "/" in name), "")
    other = f"{base} or a copy of it" if base else "a copy of it"
    name = repo.rsplit("/", 1)[-1]
    return (
        f"{repo} has only PyTorch pickles, which can run code when they are opened; pull {other} as safetensors or GGUF (look "
        f"for {name}-GGUF), or add --allow-pickle to have its weights fetched and turned into safetensors."
    )
