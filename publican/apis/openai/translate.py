"""OpenAI bodies to requests. Pure: raises what is wrong with a body, knows no HTTP and no host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from publican.apis.asking import Asking
from publican.apis.fields import MAX_COUNT, refuse_unsupported, sampling_from, token_ids
from publican.apis.formats import grammar_or_schema, with_beams, with_format
from publican.apis.messages import effort_variables, messages_of, tool_choice_of, tools_of
from publican.apis.openai.schema import ChatBody, Common, CompletionBody, StreamOptions
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.ids import TokenId
from publican.core.request import (
    ChatPrompt,
    Prompt,
    Request,
    Stopping,
    TextPrompt,
    TokenPrompt,
    Wanted,
    new_request_id,
)
from publican.core.sampling import MAX_SEED, SamplingParams
from publican.core.sampling.orders import read_order

NAME = "openai"

_UNSUPPORTED = {
    "functions": bool,
    "prompt_embeds": bool,
    "audio": bool,
    "modalities": lambda value: value != ["text"],
    "web_search_options": lambda value: True,
}
"""What an answer must not silently do without."""

API_TYPES = {"ooba": "ooba_openai", "koboldcpp": "kobold", "tabby": "tabby", "aphrodite": "aphrodite", "vllm": "vllm"}
"""SillyTavern says which server it takes this one for, and means that server's scales and orders with the names it sends."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the caller wants the answer written down.

    Attributes:
        every_token: one event for each token, because each has log probabilities.
        usage: whether a stream ends with a chunk of usage; `running_usage` puts it on every chunk.
        reasoning: whether what the model thinks is shown.
        stop_token_ids: the caller's own, to tell a stop by one of them from the model's own end.
        token_ids_as_text: log probabilities name tokens ``token_id:17``.
    """

    num_choices: int = 1
    stream: bool = False
    usage: bool = False
    running_usage: bool = False
    every_token: bool = False
    num_top: int = 0
    echo: bool = False
    reasoning: bool = True
    prompt_logprobs: bool = False
    stop_token_ids: frozenset[TokenId] = frozenset()
    token_ids_as_text: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, understood: one request for each prompt. `suffix` is what stands behind the hole that the answer fills."""

    requests: tuple[Request, ...]
    shape: Shape
    suffix: str = ""


def completion(body: Mapping[str, Any], asking: Asking) -> Asked:
    """POST /v1/completions. Raises InvalidRequest."""
    sent = CompletionBody.of(body)
    refuse_unsupported(body, _UNSUPPORTED)
    prompts = prompts_of(sent.prompt, sent.add_special_tokens, asking.max_prompts)
    if sent.suffix and not all(isinstance(prompt, TextPrompt) for prompt in prompts):
        raise InvalidParameter("suffix", "goes with a prompt of text only.")
    echoed = sent.logprobs if sent.echo else None
    wanted = Wanted(
        num_choices=sent.n,
        logprobs=sent.logprobs,
        prompt_logprobs=sent.prompt_logprobs if echoed is None else max(echoed, sent.prompt_logprobs or 0),
        echo=sent.echo,
        special_tokens=not sent.skip_special_tokens,
        truncate_prompt=_truncation(sent, sent.max_tokens),
    )
    dialect = dialect_of(body)
    sampling, stopping = sampling_of(dialect, body, sent.n, asking), _stopping(sent, sent.max_tokens)
    requests = tuple(
        Request(prompt, sampling, stopping, wanted, sent.model or None, asking.caller, dialect, new_request_id("cmpl"))
        for prompt in prompts
    )
    return Asked(requests, _shape(sent, sent.logprobs, echo=sent.echo), sent.suffix)


def chat(body: Mapping[str, Any], asking: Asking) -> Asked:
    """POST /v1/chat/completions. Raises InvalidRequest."""
    sent = ChatBody.of(body)
    refuse_unsupported(body, _UNSUPPORTED)
    num_top = sent.top_logprobs if sent.logprobs else None
    if sent.top_logprobs and not sent.logprobs:
        raise InvalidParameter("top_logprobs", "needs logprobs to be true.")
    wanted = Wanted(
        num_choices=sent.n,
        logprobs=num_top,
        prompt_logprobs=sent.prompt_logprobs,
        special_tokens=not sent.skip_special_tokens,
        split_reasoning=True,
        truncate_prompt=_truncation(sent, sent.max_tokens),
    )
    prompt = chat_prompt(sent)
    dialect = dialect_of(body)
    sampling, stopping = sampling_of(dialect, body, sent.n, asking), _stopping(sent, sent.max_tokens)
    id, model = new_request_id("chatcmpl"), sent.model or None
    request = Request(prompt, sampling, stopping, wanted, model, asking.caller, dialect, id)
    return Asked((request,), _shape(sent, num_top, reasoning=sent.include_reasoning))


def dialect_of(body: Mapping[str, Any]) -> str:
    """Whose scales and defaults the sampling parameters of `body` have."""
    kind = body.get("api_type")
    return API_TYPES.get(kind, NAME) if isinstance(kind, str) else NAME


# --- prompts


def prompts_of(value: Any, add_bos: bool, max_prompts: int, name: str = "prompt") -> list[Prompt]:
    """The prompts that `value` is: a text, several, the tokens of one, or of several."""
    if isinstance(value, str):
        return [TextPrompt(value, add_bos)]
    if not isinstance(value, list):
        raise InvalidParameter(name, "must be a text, a list of texts, or token ids.")
    if not value:
        raise InvalidParameter(name, "is an empty list; send at least one prompt.")
    if not isinstance(value[0], str | list):
        return [TokenPrompt(token_ids(name, value))]
    if len(value) > max_prompts:
        raise InvalidParameter(name, f"takes at most {max_prompts} prompts at once, got {len(value)}.")
    return [_prompt(item, add_bos, name) for item in value]


def _prompt(item: Any, add_bos: bool, name: str) -> Prompt:
    if isinstance(item, str):
        return TextPrompt(item, add_bos)
    if isinstance(item, list) and item:
        return TokenPrompt(token_ids(name, item))
    raise InvalidParameter(name, "must hold texts or lists of token ids, and none of them empty.")


def chat_prompt(sent: ChatBody) -> ChatPrompt:
    """The conversation, with its template, tools and variables."""
    if sent.mode != "instruct":
        raise Unsupported(f"mode {sent.mode[:40]!r} is of the API of 2023; use instruct here, or POST /api/v1/chat.")
    variables = {**sent.chat_template_kwargs, **effort_variables(sent.reasoning_effort)}
    for name in ("documents", "enable_thinking"):
        value = getattr(sent, name)
        if value not in ([], None):
            variables[name] = value
    if not sent.add_generation_prompt and not sent.continue_final_message:
        variables["add_generation_prompt"] = False
    tools = tools_of(sent.tools)
    return ChatPrompt(
        messages_of(sent.messages),
        sent.continue_final_message,
        sent.chat_template or None,
        variables,
        tools,
        tool_choice_of(sent.tool_choice, tools),
        sent.parallel_tool_calls,
    )


# --- what both share


def sampling_of(dialect: str, body: Mapping[str, Any], num_choices: int, asking: Asking) -> SamplingParams:
    """The sampling parameters of a body that may have OpenAI's words and those of all its kin. Raises InvalidParameter."""
    body = grammar_or_schema(with_beams(with_format(body), num_choices))
    seed = body.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool) and -(2**63) <= seed < -1:
        body = {**body, "seed": seed & MAX_SEED}  # OpenAI's seeds are signed
    if body.get("best_of") == num_choices:
        body = {**body, "best_of": None}  # as many as are asked for is no choice
    order = body.get("sampler_order")
    if dialect != "kobold" and isinstance(order, list) and any(isinstance(step, int | float) for step in order):
        # numbers are KoboldCpp's, whose clients come here too
        body = {**body, "sampler_order": list(read_order("kobold", "sampler_order", order))}
    return sampling_from(dialect, body, asking.presets)


def _stopping(sent: Common, max_tokens: int | None) -> Stopping:
    return Stopping(
        max_tokens=max_tokens,
        strings=tuple(sent.stop),
        include_string=sent.include_stop_str_in_output,
        token_ids=token_ids("stop_token_ids", sent.stop_token_ids),
        ignore_eos=sent.ignore_eos,
    )


def _truncation(sent: Common, max_tokens: int | None) -> int | None:
    """vLLM's way counts the prompt's tokens; ooba's is the length of prompt and answer together, 0 for the context's."""
    if sent.truncate_prompt_tokens is None and sent.truncation_length:
        return max(1, sent.truncation_length - (max_tokens or 0))
    if sent.truncate_prompt_tokens == 0:
        raise InvalidParameter("truncate_prompt_tokens", "must be -1, or 1 or more.")
    return MAX_COUNT if sent.truncate_prompt_tokens == -1 else sent.truncate_prompt_tokens


def _shape(sent: Common, num_top: int | None, echo: bool = False, reasoning: bool = True) -> Shape:
    if sent.stream_options is not None and not sent.stream:
        raise InvalidParameter("stream_options", "is only for streams; set stream to true.")
    if sent.stream and sent.prompt_logprobs is not None:
        raise InvalidParameter("prompt_logprobs", "is not possible in a stream; set stream to false.")
    options = sent.stream_options or StreamOptions()
    return Shape(
        num_choices=sent.n,
        stream=sent.stream,
        usage=options.include_usage,
        running_usage=options.continuous_usage_stats,
        every_token=num_top is not None,
        num_top=num_top or 0,
        echo=echo,
        reasoning=reasoning,
        prompt_logprobs=sent.prompt_logprobs is not None,
        stop_token_ids=frozenset(token_ids("stop_token_ids", sent.stop_token_ids)),
        token_ids_as_text=sent.return_tokens_as_token_ids,
    )
