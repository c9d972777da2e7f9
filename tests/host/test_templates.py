"""Which template a conversation gets: the model's own, one by name, one from the request, or a built-in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from publican.core.errors import InvalidRequest, SettingsError
from publican.core.model import Checkpoint
from publican.core.request import ChatPrompt, Message, Tool
from publican.core.tokenizer import Vocabulary
from publican.host.template_files import guess_built_in, own_templates, template_for
from publican.host.templates import BUILT_IN, ChatTemplates, Ways, built_in_name, built_in_source
from publican.host.tokenizer import load_tokenizer
from publican.store.checkpoint import open_checkpoint
from tests.host.tokenizer.folders import write_folder

CHAT = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "2+2?"))
VOCABULARY = Vocabulary((b"<unk>", b"<s>", b"</s>", b"a"), frozenset({0, 1, 2}), frozenset({2}), 1)


def model(path: Path = Path("model.gguf"), **metadata: Any) -> Checkpoint:
    return Checkpoint("some-model", path, "gguf", None, {}, {"tokenizer.ggml.eos_token_id": 2} | metadata)


def ask(templates: ChatTemplates, **prompt: Any) -> str:
    return templates.render(ChatPrompt(**({"messages": (Message("user", "Hi"),)} | prompt)))


def test_the_default_model_as_transformers_renders_it(default_model: Path) -> None:
    checkpoint = open_checkpoint(default_model)
    templates = template_for(checkpoint, load_tokenizer(checkpoint).vocabulary)
    assert not templates.is_fallback
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=None, tokenizer_object=_empty_tokenizer())
    tokenizer.bos_token, tokenizer.eos_token = "<|im_start|>", "<|im_end|>"
    for num in range(1, len(CHAT) + 1):
        messages = [{"role": m.role, "content": m.content} for m in CHAT[:num]]
        expected = tokenizer.apply_chat_template(
            messages, chat_template=templates.source, tokenize=False, add_generation_prompt=True
        )
        assert templates.render(ChatPrompt(CHAT[:num])) == expected


def _empty_tokenizer() -> Any:
    import tokenizers

    return tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))


def test_templates_of_a_gguf_file() -> None:
    templates = template_for(
        model(
            **{
                "tokenizer.chat_template": "own {{ bos_token }}{{ eos_token }}",
                "tokenizer.chat_template.tool_use": "with tools",
                "tokenizer.chat_template.rag": "rag",
            }
        ),
        VOCABULARY,
    )
    assert ask(templates) == "own <s></s>"
    assert ask(templates, variables={"tools": [{"type": "function"}]}) == "with tools"
    assert ask(templates, template="rag", variables={"tools": [{}]}) == "rag"
    assert ask(templates, template="default") == "own <s></s>"


def test_templates_from_elsewhere() -> None:
    templates = template_for(model(), VOCABULARY)
    assert templates.is_fallback
    assert ask(templates, template="ChatML").startswith("<|im_start|>user\nHi")
    assert ask(templates, template="{{ messages[0].content }}!{{ x }}", variables={"x": 1}) == "Hi!1"
    with pytest.raises(InvalidRequest, match="There is no chat template 'nonsense'; choose one of: alpaca"):
        ask(templates, template="nonsense")
    with pytest.raises(InvalidRequest, match="stopped"):
        ask(templates, template="{{ 'a' * 10**9 }}")
    with pytest.raises(InvalidRequest, match="not valid Jinja"):
        ask(templates, template="{{ ")


def test_many_templates_do_not_pile_up() -> None:
    templates = template_for(model(), VOCABULARY)
    for number in range(100):
        assert ask(templates, template=f"{{{{ {number} }}}}") == str(number)
    assert len(templates._compiled) <= 32


def test_a_broken_template_only_fails_chats() -> None:
    templates = template_for(model(**{"tokenizer.chat_template": "{% if %}"}), VOCABULARY)
    with pytest.raises(InvalidRequest, match="not valid Jinja"):
        ask(templates)
    assert ask(templates, template="alpaca")


def test_what_is_no_template_is_not_used() -> None:
    assert template_for(model(**{"tokenizer.chat_template": 5}), VOCABULARY).is_fallback
    assert template_for(model(**{"tokenizer.chat_template": ""}), VOCABULARY).is_fallback


@pytest.mark.parametrize(
    ("config", "files", "expected"),
    [
        ({"chat_template": "config"}, {}, {"default": "config"}),
        (
            {"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]},
            {},
            {"default": "a", "tool_use": "b"},
        ),
        ({"chat_template": "config"}, {"chat_template.jinja": "file"}, {"default": "file"}),
        ({}, {"chat_template.json": json.dumps({"chat_template": "json"})}, {"default": "json"}),
        ({}, {"chat_template.jinja": "file", "additional_chat_templates/rag.jinja": "rag"}, {"default": "file", "rag": "rag"}),
        ({"chat_template": [{"name": 1}, "x", {"template": "y"}]}, {}, {}),
        ({"chat_template": 7}, {}, {}),
    ],
)
def test_templates_of_a_folder(tmp_path: Path, config: dict[str, Any], files: dict[str, str], expected: dict[str, str]) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    templates = template_for(Checkpoint("m", tmp_path, "safetensors", None, {}, {}), VOCABULARY)
    assert templates._named == expected


def test_the_tokens_of_a_folder(tmp_path: Path) -> None:
    write_folder(
        tmp_path, {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ bos_token }}|{{ eos_token }}"}
    )
    checkpoint = open_checkpoint(tmp_path)
    assert ask(template_for(checkpoint, load_tokenizer(checkpoint).vocabulary)) == "<s>|</s>"


def test_arguments_of_tool_calls_are_objects() -> None:
    templates = template_for(
        model(**{"tokenizer.chat_template": "{{ messages[-1].tool_calls[0].function.arguments.city }}"}), VOCABULARY
    )
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"city": "Köln"}'}}
    assert ask(templates, messages=(Message("assistant", "", {"tool_calls": [call]}),)) == "Köln"
    for arguments in ["not JSON", "[1]", "[" * 100_000, 5, None]:
        broken = {"id": "1", "function": {"name": "f", "arguments": arguments}}
        assert ask(templates, messages=(Message("assistant", "", {"tool_calls": [broken, 7, {}]}),)) == ""


def test_extra_fields_do_not_overrule_a_message() -> None:
    templates = template_for(model(**{"tokenizer.chat_template": "{{ messages[0].role }}{{ messages[0].name }}"}), VOCABULARY)
    assert ask(templates, messages=(Message("user", "x", {"role": "system", "name": "Ann"}),)) == "userAnn"


GOLDEN = {
    "alpaca": "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello.\n\n### Instruction:\n2+2?\n\n### Response:\n",
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "gemma": (
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n"
        "<start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n"
    ),
    "llama2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] 2+2? [/INST]",
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": "<s>[INST] Be brief.\n\nHi [/INST] Hello.</s>[INST] 2+2? [/INST]",
    "vicuna": "<s>Be brief.\n\nUSER: Hi\nASSISTANT: Hello.</s>\nUSER: 2+2?\nASSISTANT:",
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_templates(name: str) -> None:
    templates = ChatTemplates({}, "<s>", "</s>", name)
    assert templates.source == built_in_source(name)
    assert templates.render(ChatPrompt(CHAT)) == GOLDEN[name]
    assert templates.render(ChatPrompt(CHAT[:3], continue_last=True)).endswith("Hello.")
    assert "Be brief." in templates.render(ChatPrompt(CHAT[:1]))
    for roles in (["assistant", "user"], ["user", "user"], ["tool"], ["user", "system", "assistant"], []):
        messages = tuple(Message(role, f"text {number}") for number, role in enumerate(roles))
        text = templates.render(ChatPrompt(messages))
        places = [text.find(message.content) for message in messages]
        assert -1 not in places
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("chatml", "chatml"),
        ("ChatML", "chatml"),
        ("Llama-v2", "llama2"),
        ("Llama-v3", "llama3"),
        ("llama-3", "llama3"),
        ("Vicuna-v1.1", "vicuna"),
        ("Alpaca", "alpaca"),
        ("gemma 2", "gemma"),
        ("Mistral", "mistral"),
        ("", None),
        ("None", None),
        ("llama", None),
        ("x" * 100, None),
    ],
)
def test_names_of_built_in_templates(wanted: str, name: str | None) -> None:
    assert built_in_name(wanted) == name


@pytest.mark.parametrize(
    ("names", "architecture", "special", "name"),
    [
        (["anything"], "llama", {b"<|im_start|>", b"<|im_end|>"}, "chatml"),
        (["anything"], "llama", {b"<|start_header_id|>"}, "llama3"),
        (["anything"], "gemma3", {b"<start_of_turn>"}, "gemma"),
        (["Mistral-7B-Instruct-v0.2"], "llama", set(), "mistral"),
        (["Mixtral-8x7B"], "llama", set(), "mistral"),
        (["Llama-2-13B-chat-GPTQ"], "llama", set(), "llama2"),
        (["TheBloke_vicuna-13b-v1.5"], "llama", set(), "vicuna"),
        (["unknown"], "gemma2", set(), "gemma"),
        (["MythoMax-L2-13B"], "llama", set(), "alpaca"),
        ([], "", set(), "alpaca"),
    ],
)
def test_guessing(names: list[str], architecture: str, special: set[bytes], name: str) -> None:
    assert guess_built_in(names, architecture, special) == name


TOOL = Tool("get_weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Köln"}'}}
CALLED = (Message("user", "Hi"), Message("assistant", "", {"tool_calls": [CALL]}), Message("tool", "sunny"))


def test_a_template_that_knows_tools_gets_them() -> None:
    source = "{% if tools %}{{ tools[0].function.name }}{% endif %}{% for m in messages %}{{ m.role }}{% endfor %}"
    templates = template_for(model(**{"tokenizer.chat_template": source}), VOCABULARY)
    assert ask(templates, messages=CALLED, tools=(TOOL,)) == "get_weatheruserassistanttool"
    assert ask(templates, messages=CALLED, tools=(TOOL,), tool_choice="none") == "userassistanttool"


def test_arguments_as_text_for_a_template_that_puts_texts_together() -> None:
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ '<' + c.function.arguments + '>' }}{% endfor %}{% endfor %}"
    )
    assert ask(template_for(model(**{"tokenizer.chat_template": source}), VOCABULARY), messages=CALLED) == '<{"city": "Köln"}>'


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_template_that_knows_no_tools_is_shown_them_as_words(name: str) -> None:
    templates = ChatTemplates({}, "<s>", "</s>", name)
    prompt = ChatPrompt(CALLED, tools=(TOOL,))
    text = templates.render(prompt)
    assert '"name": "get_weather", "description": "Tells the weather."' in text
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>' in text
    assert "<tool_response>\nsunny\n</tool_response>" in text
    assert templates.style(prompt).format.name == "hermes"
    assert not templates.style(prompt).offers_tools


def test_a_template_without_a_system_role() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    templates = template_for(model(**{"tokenizer.chat_template": source}), VOCABULARY)
    assert "get_weather" in ask(templates, tools=(TOOL,))
    later = ask(templates, messages=(Message("user", "a"), Message("system", "b")), tools=(TOOL,))
    assert "get_weather" in later
    assert later.endswith("\n\nab"), "as the user's words"


def test_the_hosts_own_templates(tmp_path: Path) -> None:
    (tmp_path / "Pirate.jinja").write_text("Arr {{ messages[0].content }}")
    (tmp_path / "Old One.yaml").write_text(
        "user: x\ninstruction_template: |-\n  {%- for m in messages %}\n    {{- m.content }}!\n\n  {%- endfor %}\nother: 1\n"
    )
    (tmp_path / "empty.yaml").write_text("user: x\n")
    (tmp_path / "notes.txt").write_text("x")
    more = own_templates(tmp_path)
    assert set(more) == {"pirate", "old one"}
    templates = template_for(model(), VOCABULARY, Ways(more=more))
    assert ask(templates, template="pirate") == ask(templates, template="PIRATE") == "Arr Hi"
    assert ask(templates, template="old one") == "Hi!"
    with pytest.raises(InvalidRequest, match="pirate"):
        ask(templates, template="nonsense")
    chosen = template_for(model(**{"tokenizer.chat_template": "own"}), VOCABULARY, Ways(more=more, template="Pirate"))
    assert ask(chosen) == "Arr Hi"
    assert ask(template_for(model(), VOCABULARY, Ways(template="llama-3"))).startswith("<s><|start_header_id|>")
    with pytest.raises(SettingsError, match="no chat template 'x'; choose one of: alpaca"):
        template_for(model(), VOCABULARY, Ways(template="x"))
    assert own_templates(tmp_path / "nowhere") == {}


def test_a_template_beside_a_file_wins(tmp_path: Path) -> None:
    (tmp_path / "m.jinja").write_text("beside")
    for file in ("m.gguf", "m-00001-of-00002.gguf"):
        assert ask(template_for(model(tmp_path / file, **{"tokenizer.chat_template": "inside"}), VOCABULARY)) == "beside"


def test_what_an_owner_chooses_holds_for_the_models_own_template() -> None:
    ways = Ways(calls="mistral", thoughts="[THINK]")
    templates = template_for(model(**{"tokenizer.chat_template": "{{ tools }}<tool_call></think>"}), VOCABULARY, ways)
    style = templates.style(ChatPrompt(CALLED))
    assert (style.format.name, [tags.start for tags in style.tags]) == ("mistral", ["[THINK]"])
    assert templates.style(ChatPrompt(CALLED, template="{{ tools }}<tool_call>")).format.name == "hermes"
    with pytest.raises(SettingsError, match="no way of writing tool calls"):
        template_for(model(), VOCABULARY, Ways(calls="x"))


def test_a_template_that_writes_calls_but_shows_no_tools_is_helped() -> None:
    source = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}CALL{% endfor %}|{% endfor %}"
    templates = template_for(model(**{"tokenizer.chat_template": source}), VOCABULARY)
    text = ask(templates, messages=CALLED, tools=(TOOL,))
    assert text.startswith("You can call these functions")
    assert text.endswith("|Hi|CALL|sunny|")
    assert ask(templates, messages=CALLED) == "Hi|CALL|sunny|"
