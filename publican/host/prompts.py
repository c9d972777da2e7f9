"""`Prompter`: whatever a caller calls a prompt, as the tokens that the engine gets. Event loop and threads; no state."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Protocol

from publican.core.errors import InvalidParameter, InvalidRequest, PromptTooLong
from publican.core.ids import TokenId
from publican.core.request import ChatPrompt, Prompt, Request, TextPrompt, TokenPrompt, Wanted
from publican.core.sampling import SamplingParams
from publican.core.sampling.wire import tokenised
from publican.core.tokenizer import Tokenizer
from publican.host.answers.forcing import constrained
from publican.host.answers.reading import Reading, reading_of
from publican.host.answers.style import Style
from publican.host.vectors import VectorStyle

_LONG_CHARS = 4_000
"""Text from this length on is tokenised on a thread (about a millisecond's work)."""


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON can say half a UTF-16 pair; no tokenizer can."""


class Template(Protocol):
    """Renders a conversation as the model was taught to read it."""

    def render(self, prompt: ChatPrompt) -> str:
        """Raises InvalidRequest with the template's own complaint."""
        ...

    def style(self, prompt: ChatPrompt) -> Style:
        """How `prompt` will be answered. Raises InvalidRequest if there is no such template."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as the engine gets it, and what to look for in its answers; `reading` is None for nothing."""

    tokens: tuple[TokenId, ...]
    sampling: SamplingParams
    wanted: Wanted
    reading: Reading | None = None


class Prompter:
    """Prompts of one model.

    Args:
        tokenizer: the model's.
        template: its chat template.
        context_len: tokens that fit, the answer's among them.
    """

    def __init__(self, tokenizer: Tokenizer, template: Template, context_len: int) -> None:
        self.tokenizer = tokenizer
        self._template = template
        self._context_len = context_len

    async def encode(self, prompt: Prompt) -> tuple[TokenId, ...]:
        """All tokens of `prompt`, however many they are."""
        match prompt:
            case TokenPrompt(tokens):
                self._check(tokens)
                return tokens
            case TextPrompt(text, add_bos):
                return tuple(await self._encode_text(text, add_bos))
            case ChatPrompt():
                return tuple(await self._encode_text(await self.render(prompt), add_bos=True))

    async def encode_whole(self, prompt: Prompt, style: VectorStyle, truncate: bool) -> tuple[TokenId, ...]:
        """`prompt` as a text that becomes a vector. Raises InvalidRequest, PromptTooLong."""
        if isinstance(prompt, TokenPrompt):
            style = replace(style, end=None)
        return style.fitting(await self.encode(prompt), self._context_len, truncate)

    async def render(self, prompt: ChatPrompt) -> str:
        """The text of `prompt`. Raises InvalidRequest with the template's own complaint."""
        return await asyncio.to_thread(self._template.render, prompt)

    def _rendered(self, prompt: ChatPrompt) -> tuple[str, Style]:
        """Both on one thread: a template that came with a request is compiled for either."""
        return self._template.render(prompt), self._template.style(prompt)

    async def _encode_text(self, text: str, add_bos: bool) -> list[TokenId]:
        text = _LONE_SURROGATE.sub("\ufffd", text)
        if len(text) < _LONG_CHARS:
            return self.tokenizer.encode(text, add_bos)
        return await asyncio.to_thread(self.tokenizer.encode, text, add_bos)

    def decode(self, tokens: tuple[TokenId, ...]) -> str:
        """The text of `tokens`, special ones included."""
        self._check(tokens, "tokens")
        return self.tokenizer.decode(tokens, skip_special=False)

    def pieces(self, tokens: tuple[TokenId, ...]) -> tuple[bytes, ...]:
        """The bytes of each token."""
        self._check(tokens, "tokens")
        return tuple(self.tokenizer.vocabulary.pieces[token] for token in tokens)

    async def prepare(self, request: Request) -> Prepared:
        """`request`, its prompt cut where it may be cut.

        Raises:
            InvalidRequest, PromptTooLong: the prompt cannot be used.
        """
        prompt, sampling, wanted = request.prompt, request.sampling, request.wanted
        if not isinstance(prompt, ChatPrompt):
            return Prepared(self._fitting(request, await self.encode(prompt)), self.tokenised(sampling), wanted)
        text, style = await asyncio.to_thread(self._rendered, prompt)
        tokens = self._fitting(request, tuple(await self._encode_text(text, add_bos=True)))
        reading = reading_of(request, prompt, style, text)
        if reading is not None:
            sampling = constrained(sampling, prompt, style, reading.opened, reading.closed)
            wanted = replace(wanted, special_tokens=wanted.special_tokens or style.sees_special(reading.marks))
        return Prepared(tokens, self.tokenised(sampling), wanted, reading)

    def _fitting(self, request: Request, tokens: tuple[TokenId, ...]) -> tuple[TokenId, ...]:
        self._check(tuple(token for token, _ in request.sampling.logit_bias), "logit_bias")
        self._check(request.stopping.token_ids, "stop_token_ids")
        longest = request.wanted.truncate_prompt
        if longest is not None:
            max_tokens = request.stopping.max_tokens
            room = self._context_len - max(1, max_tokens if max_tokens is not None else 1)
            if room < 1:
                raise InvalidParameter(
                    "max_tokens", f"leaves no room for a prompt: {max_tokens:,} of {self._context_len:,} tokens of context."
                )
            tokens = tokens[-min(longest, room) :]
        if not tokens:
            tokens = self._beginning()
        if len(tokens) >= self._context_len:
            raise PromptTooLong(len(tokens), self._context_len)
        return tokens

    async def negative_tokens(self, sampling: SamplingParams, prompt: tuple[TokenId, ...]) -> tuple[TokenId, ...]:
        """What guidance moves away from; none if there is no guidance. An empty negative prompt is the prompt's last token,
        as in Hugging Face's generate."""
        if sampling.guidance_scale == 1.0:
            return ()
        if not sampling.negative_prompt:
            return prompt[-1:]
        return tuple(await self._encode_text(sampling.negative_prompt, add_bos=True))

    def tokenised(self, sampling: SamplingParams) -> SamplingParams:
        """`sampling` with the texts that it biases or bans as tokens."""
        return tokenised(sampling, lambda text: self.tokenizer.encode(text, add_bos=False))

    def text_of(self, prompt: Prompt, tokens: tuple[TokenId, ...]) -> str:
        """`prompt` as a caller would read it, its tokens being `tokens`."""
        return prompt.text if isinstance(prompt, TextPrompt) else self.tokenizer.decode(tokens, skip_special=False)

    def _beginning(self) -> tuple[TokenId, ...]:
        """What stands for an empty prompt."""
        vocabulary = self.tokenizer.vocabulary
        first = vocabulary.bos if vocabulary.bos is not None else min(vocabulary.end, default=None)
        if first is None:
            raise InvalidRequest("The prompt is empty, and this model has no token to begin with; send some text.")
        return (first,)

    def _check(self, tokens: tuple[TokenId, ...], name: str = "prompt") -> None:
        size = self.tokenizer.vocabulary.size
        if tokens and not (min(tokens) >= 0 and max(tokens) < size):
            wrong = next(t for t in tokens if not 0 <= t < size)
            raise InvalidParameter(name, f"holds token {wrong}, and this model's tokens are 0 to {size - 1}.")
