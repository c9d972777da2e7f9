"""All formats, as data. In order: what stands first is looked for first, so that a relative with more marks of its own wins."""

from __future__ import annotations

import secrets
import string
from dataclasses import replace

from publican.host.answers.formats.channels import ChannelFormat
from publican.host.answers.formats.either import Either
from publican.host.answers.formats.format import CallFormat
from publican.host.answers.formats.gemma import GemmaFormat
from publican.host.answers.formats.json_calls import JsonFormat
from publican.host.answers.formats.named import NamedFormat
from publican.host.answers.formats.pythonic import PYTHON_WITH_JSON_WORDS, PythonFormat
from publican.host.answers.formats.tagged import TaggedFormat

_LETTERS = string.ascii_letters + string.digits


def nine_characters(name: str, index: int) -> str:
    """Mistral's templates refuse ids of any other form."""
    return "".join(secrets.choice(_LETTERS) for _ in range(9))


def numbered_name(name: str, index: int) -> str:
    """Kimi was taught that ids look like this, counted over the whole conversation."""
    return f"functions.{name}:{index}"


def _json_list(name: str, sign: str, opens: str, closes: str = "", **rest: str) -> JsonFormat:
    """Between two marks, all calls in one list."""
    return JsonFormat(
        name,
        (sign,),
        (opens,),
        tuple(filter(None, (closes,))),
        f"{opens}[",
        ", ",
        f"]{closes}",
        **rest,  # type: ignore[arg-type]
    )


_JSON_IN_TAGS = JsonFormat(
    "hermes",
    ("<tool_call>",),
    ("<tool_call>",),
    ("</tool_call>",),
    before="<tool_call>\n",
    between="\n</tool_call>\n<tool_call>\n",
    after="\n</tool_call>",
)
_QWEN_TAGS = TaggedFormat(
    "qwen3-coder",
    ("<parameter=",),
    opens=("<tool_call>", "<function="),
    sections=("<tool_call>", "</tool_call>"),
    before="<tool_call>\n",
    call_open="<function=",
    name_end=">\n",
    key_open="<parameter=",
    key_end=">\n",
    value_end="\n</parameter>\n",
    call_close="</function>",
    between="\n</tool_call>\n<tool_call>\n",
    after="\n</tool_call>",
)
_GLM_TAGS = TaggedFormat(
    "glm",
    ("<arg_key>",),
    opens=("<tool_call>",),
    sections=(),
    before="",
    call_open="<tool_call>",
    name_end="\n",
    key_open="<arg_key>",
    key_end="</arg_key>\n<arg_value>",
    value_end="</arg_value>\n",
    call_close="</tool_call>",
    between="\n",
    after="",
)
SEED = TaggedFormat(
    "seed",
    ("<seed:tool_call>",),
    opens=("<seed:tool_call>",),
    sections=("<seed:tool_call>", "</seed:tool_call>"),
    before="<seed:tool_call>\n",
    call_open="<function=",
    name_end=">\n",
    key_open="<parameter=",
    key_end=">",
    value_end="</parameter>\n",
    call_close="</function>",
    between="\n</seed:tool_call>\n<seed:tool_call>\n",
    after="\n</seed:tool_call>",
)
MINIMAX = TaggedFormat(
    "minimax",
    ("<minimax:tool_call>",),
    opens=("<minimax:tool_call>",),
    sections=("<minimax:tool_call>", "</minimax:tool_call>"),
    before="<minimax:tool_call>\n",
    call_open='<invoke name="',
    name_end='">\n',
    key_open='<parameter name="',
    key_end='">',
    value_end="</parameter>\n",
    call_close="</invoke>\n",
    between="",
    after="</minimax:tool_call>",
)
DEEPSEEK_TAGS = TaggedFormat(
    "deepseek-v3.2",
    ("｜DSML｜",),
    opens=("<｜DSML｜function_calls>",),
    sections=("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
    before="<｜DSML｜function_calls>\n",
    call_open='<｜DSML｜invoke name="',
    name_end='">\n',
    key_open='<｜DSML｜parameter name="',
    key_end='">',
    value_end="</｜DSML｜parameter>\n",
    call_close="</｜DSML｜invoke>\n",
    between="",
    after="</｜DSML｜function_calls>",
    typed_keys=('" string="true', '" string="false'),
)
DEEPSEEK_V4_TAGS = replace(
    DEEPSEEK_TAGS,
    name="deepseek-v4",
    signs=("｜DSML｜tool_calls", "dsml_token + 'tool_calls>"),
    opens=("<｜DSML｜tool_calls>",),
    sections=("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
    before="<｜DSML｜tool_calls>\n",
    after="</｜DSML｜tool_calls>",
)
MINICPM = TaggedFormat(
    "minicpm5",
    ("<param name=",),
    opens=('<function name="',),
    sections=(),
    before="",
    call_open='<function name="',
    name_end='">',
    key_open='<param name="',
    key_end='">',
    value_end="</param>",
    call_close="</function>",
    between="\n",
    after="",
)
_DEEPSEEK_CLOSES = ("<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>")
_DEEPSEEK_OPENS = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>")
DEEPSEEK = NamedFormat(
    "deepseek-v3.1",
    ("<｜tool▁calls▁begin｜>",),
    opens=_DEEPSEEK_OPENS,
    name_ends=("<｜tool▁sep｜>", "\n"),
    closes=_DEEPSEEK_CLOSES,
    head="<｜tool▁call▁begin｜>",
    middle="<｜tool▁sep｜>",
    tail="<｜tool▁call▁end｜>",
    before="<｜tool▁calls▁begin｜>",
    after="<｜tool▁calls▁end｜>",
    typed=True,
    fence="```",
)
DEEPSEEK_FENCED = NamedFormat(
    "deepseek-r1",
    ("+ '```json' +",),
    opens=_DEEPSEEK_OPENS,
    name_ends=("<｜tool▁sep｜>", "\n"),
    closes=_DEEPSEEK_CLOSES,
    head="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    middle="\n```json\n",
    tail="\n```<｜tool▁call▁end｜>",
    before="<｜tool▁calls▁begin｜>",
    between="\n",
    after="<｜tool▁calls▁end｜>",
    typed=True,
    fence="```",
)
KIMI = NamedFormat(
    "kimi",
    ("<|tool_calls_section_begin|>",),
    opens=("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
    name_ends=("<|tool_call_argument_begin|>",),
    closes=("<|tool_call_end|>", "<|tool_calls_section_end|>"),
    head="<|tool_call_begin|>functions.",
    middle="<|tool_call_argument_begin|>",
    tail="<|tool_call_end|>",
    before="<|tool_calls_section_begin|>",
    after="<|tool_calls_section_end|>",
    numbered=True,
    call_id=numbered_name,
)
_MISTRAL_NAMED = NamedFormat(
    "mistral",
    ("[ARGS]",),
    opens=("[TOOL_CALLS]",),
    name_ends=("[ARGS]", "[CALL_ID]"),
    closes=(),
    head="[TOOL_CALLS]",
    middle="[ARGS]",
    call_id=nine_characters,
)
_MISTRAL_LIST = JsonFormat(
    "mistral-list",
    ("[TOOL_CALLS]",),
    ("[TOOL_CALLS]",),
    (),
    before="[TOOL_CALLS][",
    between=", ",
    after="]",
    call_id=nine_characters,
)
_LLAMA_JSON = JsonFormat(
    "llama3",
    ("<|python_tag|>", '{"name": function name, "parameters"'),
    ("<|python_tag|>", "<|python_start|>"),
    ("<|python_end|>",),
    before="",
    between="; ",
    after="",
    middle='", "parameters": ',
    bare=True,
)
_PYTHON_LIST = PythonFormat(
    "pythonic",
    ("func_name1(",),
    ("<|python_start|>", "<|python_tag|>"),
    ("<|python_end|>",),
    before="[",
    between=", ",
    after="]",
    bare=True,
)
_FUNCTION_TAGS = NamedFormat(
    "functionary",
    ("<function=",),
    opens=("<function=",),
    name_ends=(">",),
    closes=("</function>",),
    head="<function=",
    middle=">",
    tail="</function>",
)

CHANNELS = ChannelFormat()
HERMES = Either(_JSON_IN_TAGS, _QWEN_TAGS, _GLM_TAGS)
QWEN = Either(_QWEN_TAGS, _JSON_IN_TAGS)
GLM = Either(_GLM_TAGS, _JSON_IN_TAGS)
MISTRAL = Either(_MISTRAL_NAMED, _MISTRAL_LIST)
MISTRAL_LIST = Either(_MISTRAL_LIST, _MISTRAL_NAMED)
LLAMA = Either(_LLAMA_JSON, _FUNCTION_TAGS, _PYTHON_LIST)
PYTHONIC = Either(_PYTHON_LIST, _LLAMA_JSON)
FUNCTIONARY = Either(_FUNCTION_TAGS, _LLAMA_JSON)
OLMO = PythonFormat(
    "olmo3",
    ("<function_calls>",),
    ("<function_calls>",),
    ("</function_calls>",),
    before="<function_calls>\n",
    between="\n",
    after="\n</function_calls>",
    values=PYTHON_WITH_JSON_WORDS,
)
LFM = PythonFormat(
    "lfm2",
    ("<|tool_call_start|>", "<|tool_list_start|>"),
    ("<|tool_call_start|>",),
    ("<|tool_call_end|>",),
    before="<|tool_call_start|>[",
    between=", ",
    after="]<|tool_call_end|>",
)
COMMAND = _json_list(
    "command-r",
    "<|START_ACTION|>",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    head='{"tool_call_id": "0", "tool_name": "',
    middle='", "parameters": ',
)
APERTUS = _json_list("apertus", "<|tools_prefix|>", "<|tools_prefix|>", "<|tools_suffix|>", head='{"', middle='": ')
INTERNLM = JsonFormat(
    "internlm2",
    ("<|action_start|>",),
    ("<|action_start|><|plugin|>",),
    ("<|action_end|>",),
    before="<|action_start|><|plugin|>\n",
    between="<|action_end|>\n<|action_start|><|plugin|>\n",
    after="<|action_end|>",
    middle='", "parameters": ',
)
GRANITE_20B = JsonFormat(
    "granite-20b", ("<function_call>",), ("<function_call>",), (), "<function_call> ", "\n<function_call> ", ""
)

GIGACHAT = JsonFormat(
    "gigachat3.1", ("<|function_call|>",), ("<|function_call|>",), (), "<|function_call|>", "<|function_call|>", ""
)
_FUNCTION_CALL = "<|message_sep|>\n\nfunction call<|role_sep|>\n"
GIGACHAT_ROLES = JsonFormat("gigachat3", ("'function call'",), (_FUNCTION_CALL,), (), _FUNCTION_CALL, _FUNCTION_CALL, "")

FORMATS: tuple[CallFormat, ...] = (
    *(
        CHANNELS,
        GemmaFormat(),
        DEEPSEEK_V4_TAGS,
        DEEPSEEK_TAGS,
        DEEPSEEK_FENCED,
        DEEPSEEK,
        KIMI,
        MINIMAX,
        SEED,
        GLM,
        QWEN,
        FUNCTIONARY,
        MISTRAL,
    ),
    *(MISTRAL_LIST, OLMO, LFM, COMMAND, APERTUS, INTERNLM),
    _json_list("nemotron", "<TOOLCALL>", "<TOOLCALL>", "</TOOLCALL>"),
    _json_list("granite", "<|tool_call|>", "<|tool_call|>", "<|/tool_call|>"),
    _json_list("hunyuan", "<tool_calls>", "<tool_calls>", "</tool_calls>"),
    _json_list("phi4", "functools[", "functools"),
    *(GRANITE_20B, GIGACHAT, GIGACHAT_ROLES, MINICPM, PYTHONIC, HERMES, LLAMA),
)
