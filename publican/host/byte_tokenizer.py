"""The fake model's tokenizer: bytes, and four special tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

from publican.core.ids import TokenId
from publican.core.request import ChatPrompt
from publican.core.tokenizer import Vocabulary
from publican.executors.fake import FAKE_VOCABULARY
from publican.host.answers.showing import has_tools, shown
from publican.host.answers.style import Style

_SPECIAL = {FAKE_VOCABULARY.pieces[id].decode(): id for id in FAKE_VOCABULARY.special}
_SPLIT = re.compile("(" + "|".join(map(re.escape, _SPECIAL)) + ")")


class ByteTokenizer:
    """Follows `core.tokenizer.Tokenizer` for `executors.fake`."""

    @property
    def vocabulary(self) -> Vocabulary:
        return FAKE_VOCABULARY

    def encode(self, text: str, add_bos: bool = True, parse_special: bool = True) -> list[TokenId]:
        parts = _SPLIT.split(text) if parse_special else [text]
        tokens: list[TokenId] = []
        for part in parts:
            if parse_special and part in _SPECIAL:
                tokens.append(_SPECIAL[part])
            else:
                tokens.extend(TokenId(byte) for byte in part.encode("utf-8", "replace"))
        return tokens

    def decode(self, tokens: Sequence[TokenId], skip_special: bool = True) -> str:
        special = FAKE_VOCABULARY.special if skip_special else frozenset()
        return b"".join(FAKE_VOCABULARY.pieces[t] for t in tokens if t not in special).decode("utf-8", "replace")


class ChatML:
    """The fake model's chat template; `source` is what it would be in Jinja."""

    source = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )

    def style(self, prompt: ChatPrompt) -> Style:
        return Style(special=_SPECIAL)

    def render(self, prompt: ChatPrompt) -> str:
        messages = shown(prompt, self.style(prompt).format) if has_tools(prompt) else prompt.messages
        turns = [f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in messages]
        if prompt.continue_last:
            return "".join(turns).removesuffix("<|im_end|>\n")
        return "".join(turns) + "<|im_start|>assistant\n"
