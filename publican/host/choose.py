"""Which executor runs a model. Pure: what is there comes in, what was decided and why goes out."""

from __future__ import annotations

from dataclasses import dataclass

from publican.core.errors import SettingsError, UnsupportedModel
from publican.host.options import Loader, NativeBackend


@dataclass(frozen=True, slots=True)
class Available:
    """What could run a model here.

    Attributes:
        cuda: torch, triton and an NVIDIA card; `cpu`: our C++ library; `llama`: libllama's binding.
        llama_gpu: libllama was built for NVIDIA cards.
        native_objection: why native cannot run this model; None if it can.
        is_gguf: the only kind of file that libllama reads.
    """

    cuda: bool
    cpu: bool
    llama: bool
    native_objection: str | None
    is_gguf: bool
    llama_gpu: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """`why` is for the host's eyes."""

    loader: Loader
    backend: NativeBackend
    why: str


def choose(loader: Loader, backend: NativeBackend, here: Available) -> Chosen:
    """The executor for a model.

    Raises:
        UnsupportedModel: nothing here runs it; says what would.
        SettingsError: what was asked for by name is not here.
    """
    if loader == "llama":
        _require_llama(here)
        return Chosen("llama", "auto", "asked for")
    if loader == "native":
        if here.native_objection is not None:
            raise UnsupportedModel(here.native_objection)
        return Chosen("native", _backend(backend, here), "asked for")
    if here.native_objection is None:
        chosen = _backend(backend, here)
        if chosen == "plain" and backend == "auto" and here.llama and here.is_gguf:
            return Chosen("llama", "auto", "native's C++ library is not built here, and libllama is faster than NumPy")
        return Chosen("native", chosen, _REASONS[chosen])
    if here.is_gguf and here.llama:
        return Chosen("llama", "auto", f"native cannot: {here.native_objection}")
    if here.is_gguf:
        raise UnsupportedModel(f"{here.native_objection.rstrip('.')} (it is not installed: pip install 'publican[llama]').")
    raise UnsupportedModel(here.native_objection)


_REASONS = {
    "cuda": "native, on the NVIDIA card",
    "cpu": "native, the fastest on a CPU",
    "plain": "native in NumPy, for its C++ library is not built here",
}


def _backend(wanted: NativeBackend, here: Available) -> NativeBackend:
    if wanted == "auto":
        return "cuda" if here.cuda else "cpu" if here.cpu else "plain"
    if wanted == "cuda" and not here.cuda:
        raise SettingsError("The backend cuda needs an NVIDIA card, torch and triton, which are not here; take cpu.")
    if wanted == "cpu" and not here.cpu:
        raise SettingsError("The backend cpu needs publican's C++ library, which was not built here; take plain.")
    return wanted


def _require_llama(here: Available) -> None:
    if not here.llama:
        raise SettingsError("The loader llama needs libllama's binding; install it with: pip install 'publican[llama]'.")
    if not here.is_gguf:
        raise UnsupportedModel("The loader llama reads GGUF files only; take the loader native for this model.")
