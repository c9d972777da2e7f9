"""Every error that crosses a room's border.

    PublicanError
    ├── InvalidRequest            what the caller sent cannot be done; the text says what to change
    │   ├── InvalidParameter      one named value is of the wrong type or out of its range
    │   ├── PromptTooLong         with the counts
    │   └── Unsupported           a known feature that this model, loader or build does not have
    ├── NotAllowed                no key, a wrong key, or a key that may not do this
    ├── ModelNotFound             no model of that name here
    ├── Overloaded                try again later; says when
    ├── ModelFileError            a model file is missing, truncated, or not what it claims to be
    ├── UnsupportedModel          a sound file that no executor here can run; says what to use instead
    ├── OutOfMemory               the plan does not fit; says by how much
    ├── SettingsError             a flag, a file or a variable is wrong; says which
    ├── EngineError               our side broke while the request ran
    │   └── WorkerDied            the model's process ended; it is being restarted
    └── PlanError                 a plan breaks the contract between engine and executor: a bug of ours

Texts are one sentence for a person: what is wrong, and what to do about it. Only `apis` turns them into HTTP.
"""

from __future__ import annotations


class PublicanError(Exception):
    """The root. `str(error)` is a sentence that may be shown to whoever caused it."""


class InvalidRequest(PublicanError):
    """The request cannot be served as it stands."""


class InvalidParameter(InvalidRequest):
    """One named value is wrong."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, str(self).removeprefix(f"{self.name}: "))


class PromptTooLong(InvalidRequest):
    """The prompt leaves no room for an answer."""

    def __init__(self, num_prompt_tokens: int, context_len: int) -> None:
        super().__init__(
            f"The prompt has {num_prompt_tokens:,} tokens and the context of this model is {context_len:,}; "
            f"shorten the prompt to {context_len - 1:,} tokens or fewer."
        )
        self.num_prompt_tokens = num_prompt_tokens
        self.context_len = context_len

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.num_prompt_tokens, self.context_len)


class Unsupported(InvalidRequest):
    """A known feature that is not to be had here."""


class NotAllowed(PublicanError):
    """The caller may not do this."""


class ModelNotFound(PublicanError):
    """No model of that name is here; no name is no loaded model. The sentence names the first 20 of those `available`.

    `several`: they are those that the name might mean.
    """

    def __init__(self, name: str, available: tuple[str, ...] = (), several: bool = False) -> None:
        more = ", …" if len(available) > 20 else ""
        here = f"; here are: {', '.join(available[:20])}{more}" if available else ""
        unclear = f"The name {name!r} might mean several models; say which one{here}."
        missing = f"The model {name!r} is not here{here}." if name else f"No model is loaded{here}."
        super().__init__(unclear if several else missing)
        self.name = name
        self.available = available
        self.several = several

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.available, self.several)


class Overloaded(PublicanError):
    """Too much is waiting already. `retry_after_s` is an honest guess, at least 1."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = max(1, retry_after_s)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.retry_after_s)


class ModelFileError(PublicanError):
    """A model file is missing, truncated, or not what it claims to be."""


class UnsupportedModel(PublicanError):
    """The file is sound, but nothing here can run it."""


class OutOfMemory(PublicanError):
    """It does not fit."""


class SettingsError(PublicanError):
    """A flag, a settings file or an environment variable is wrong."""


class EngineError(PublicanError):
    """Our side broke while the request ran."""


class WorkerDied(EngineError):
    """The model's process ended under the request."""


class PlanError(PublicanError):
    """A plan breaks the contract of `core.step`."""
