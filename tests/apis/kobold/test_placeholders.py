"""KoboldCpp's placeholders in the words of real templates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import jinja2
import pytest

from publican.apis.kobold.placeholders import ALPACA, Marks, filled, filled_stop, marks_of, with_words
from publican.core.errors import InvalidRequest
from publican.core.request import ChatPrompt
from tests.apis.fake_host import ScriptedHost

TEMPLATES = Path(__file__).parents[3] / "publican" / "host" / "chat_templates"
CHATML = Marks(
    "<|im_start|>system\n", "<|im_end|>\n", "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", "<|im_end|>\n"
)


class Templated(ScriptedHost):
    """A host whose model has `template`."""

    template = ""

    async def render(self, prompt: ChatPrompt, model: str | None = None) -> str:
        def complain(text: str) -> None:
            raise InvalidRequest(text)

        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        made = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(self.template)
        return made.render(
            messages=turns,
            **{"add_generation_prompt": True, **prompt.variables},
            bos_token="<s>",
            eos_token="</s>",
            raise_exception=complain,
        )


def host_of(name: str) -> Templated:
    host = Templated()
    host.template = (TEMPLATES / f"{name}.jinja").read_text()
    return host


def test_chatml() -> None:
    found = asyncio.run(marks_of(host_of("chatml")))
    assert found.user_end + found.assistant_start == "<|im_end|>\n<|im_start|>assistant\n"
    assert found.assistant_end + found.user_start == "<|im_end|>\n<|im_start|>user\n"
    assert found.user_start == "<|im_start|>user\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
@pytest.mark.parametrize("with_ends", [False, True])
def test_a_chat_of_placeholders_is_what_the_template_writes(name: str, with_ends: bool) -> None:
    host = host_of(name)
    marks = asyncio.run(marks_of(host))
    user_end, assistant_end = ("{{[INPUT_END]}}", "{{[OUTPUT_END]}}") if with_ends else ("", "")
    chat = f"{{{{[INPUT]}}}}one{user_end}{{{{[OUTPUT]}}}}two{assistant_end}{{{{[INPUT]}}}}three{user_end}{{{{[OUTPUT]}}}}"
    _, text = filled("", chat, marks)
    between = text[text.index("one") : text.index("three") + 5]
    assert between == f"one{marks.user_end}{marks.assistant_start}two{marks.assistant_end}{marks.user_start}three"
    assert "{{[" not in text


def test_bodies_without_placeholders_are_left_alone() -> None:
    host = ScriptedHost()
    for body in (
        {"prompt": "x"},
        {"prompt": 5},
        {"memory": ["{{[INPUT]}}"], "prompt": "x"},
        {"prompt": "{{[INPUT]}}x", "replace_instruct_placeholders": False},
    ):
        assert asyncio.run(with_words(host, body)) is body


def test_memory_prompt_and_stop_strings_are_filled() -> None:
    body: dict[str, Any] = {"memory": "{{[SYSTEM]}}Be.{{[SYSTEM_END]}}", "prompt": "{{[INPUT]}}Hi{{[OUTPUT]}}"}
    said = asyncio.run(with_words(host_of("chatml"), {**body, "stop_sequence": ["{{[INPUT]}}", "You:"]}))
    assert said["memory"].startswith("<|im_start|>system\nBe.")
    assert said["prompt"].endswith("Hi<|im_end|>\n<|im_start|>assistant\n")
    assert said["stop_sequence"] == ["<|im_start|>user", "You:"]


def test_a_model_whose_template_loses_a_turn_is_taken_for_alpaca() -> None:
    host = Templated()
    host.template = "{{ messages[0].content }}"
    assert asyncio.run(marks_of(host)) == ALPACA


def test_the_first_turn_has_nothing_to_end() -> None:
    assert filled("", "{{[INPUT]}}Hi{{[OUTPUT]}}", CHATML)[1].startswith("<|im_start|>user\nHi<|im_end|>")
    assert filled("m", "{{[INPUT]}}Hi{{[OUTPUT]}}", CHATML)[1].startswith("<|im_end|>\n<|im_start|>user\nHi")
    assert filled_stop("{{[OUTPUT]}}", CHATML) == "<|im_start|>assistant"
