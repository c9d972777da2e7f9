"""Conversations that templates treat differently, and templates in the style of well-known models, written down here."""

from __future__ import annotations

from typing import Any

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather <b>now</b> & here",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Größe"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
]

CALL = {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln"}}}

CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]] | None]] = {
    "one question": ([{"role": "user", "content": "Hello <there> & you"}], None),
    "a system prompt and turns": (
        [
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Arr!  "},
            {"role": "user", "content": "  2+2? \n"},
        ],
        None,
    ),
    "tools": (
        [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "sunny", "name": "get_weather", "tool_call_id": "abcdef123"},
            {"role": "user", "content": "thanks"},
        ],
        TOOLS,
    ),
    "thoughts": (
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA"},
            {"role": "user", "content": "q2"},
        ],
        None,
    ),
    "roles in a strange order": ([{"role": "assistant", "content": "I begin."}, {"role": "user", "content": "You do."}], None),
}

LLAMA3_STYLE = """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" + message.content | tojson + "<|eot_id|>" }}
    {%- elif 'tool_calls' in message %}
        {%- for call in message.tool_calls %}{{- call.function | tojson(indent=2) }}{%- endfor %}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

QWEN_STYLE = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- endif %}
{%- set ns = namespace(last=-1, names=[]) %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and ns.last < 0 %}{%- set ns.last = messages|length - loop.index0 - 1 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content.split('</think>')[-1].lstrip('\\n') if loop.index0 < ns.last else message.content %}
    {%- set ns.names = ns.names + [message.role] %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>' ~ ('\\n' if not loop.last else '') }}
{%- endfor %}
{{- ns.names | join(',') }}
{%- if add_generation_prompt %}
    {{- '\\n<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

GEMMA_STYLE = """{{ bos_token }}
{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""

MISTRAL_STYLE = """{%- macro turn(text, last=false) %}
[INST] {% if last %}{{ caller() if caller else '' }}{% endif %}{{ text }}[/INST]
{%- endmacro -%}
{%- set users = messages | selectattr('role', 'equalto', 'user') | list -%}
{{ bos_token }}
{%- for message in messages %}
    {%- if message['role'] not in ('user', 'assistant') %}{% continue %}{% endif %}
    {%- if message['role'] == 'user' %}{{ turn(message['content'], message == users[-1]) }}
    {%- else %}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}
    {%- endif %}
    {%- if loop.index > 50 %}{% break %}{% endif %}
{%- endfor %}{{ '%s of %d' % (users | length, messages | count) }}{{ '{:>4}|{}'.format(users | length, 'x') }}"""

STYLES = {"llama3": LLAMA3_STYLE, "qwen": QWEN_STYLE, "gemma": GEMMA_STYLE, "mistral": MISTRAL_STYLE}
