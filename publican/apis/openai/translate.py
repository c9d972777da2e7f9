"""OpenAI bodies to requests. Pure: raises what is wrong with a body, knows no HTTP and no host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from publican.apis.fields import MAX_COUNT, refuse_unsupported, sampling_from, token_ids
from publican.apis.openai.schema import ChatBody, ChatMessage, Common, CompletionBody, StreamOptions
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.ids import TokenId
from publican.core.request import (
    Caller,
    ChatPrompt,
    Message,
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
    "tools": bool,
    "functions": bool,
    "response_format": lambda value: not (isinstance(value, dict) and value.get("type") == "text"),
    "suffix": bool,
    "use_beam_search": bool,
    "prompt_embeds": bool,
    "structured_outputs": bool,
    "audio": bool,
}
"""What an answer must not silently do without."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the caller wants the answer written down.

    Attributes:
        every_token: one event for each token, because each has log probabilities.
        usage: whether a stream ends with a chunk of usage; `running_usage` puts it on every chunk.
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
    prompt_logprobs: bool = False
    stop_token_ids: frozenset[TokenId] = frozenset()
    token_ids_as_text: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, understood: one request for each prompt."""

    requests: tuple[Request, ...]
    shape: Shape


def completion(body: Mapping[str, Any], caller: Caller, max_prompts: int = 128) -> Asked:
    """POST /v1/completions. Raises InvalidRequest."""
    sent = CompletionBody.of(body)
    _refuse(body)
    prompts = prompts_of(sent.prompt, sent.add_special_tokens, max_prompts)
    echoed = sent.logprobs if sent.echo else None
    wanted = Wanted(
        num_choices=sent.n,
        logprobs=sent.logprobs,
        prompt_logprobs=sent.prompt_logprobs if echoed is None else max(echoed, sent.prompt_logprobs or 0),
        echo=sent.echo,
        special_tokens=not sent.skip_special_tokens,
        truncate_prompt=_truncation(sent),
    )
    sampling, stopping = _sampling(body, sent), _stopping(sent, sent.max_tokens)
    requests = tuple(
        Request(prompt, sampling, stopping, wanted, sent.model or None, caller, NAME, new_request_id("cmpl"))
        for prompt in prompts
    )
    return Asked(requests, _shape(sent, sent.logprobs, echo=sent.echo))


def chat(body: Mapping[str, Any], caller: Caller) -> Asked:
    """POST /v1/chat/completions. Raises InvalidRequest."""
    sent = ChatBody.of(body)
    _refuse(body)
    num_top = sent.top_logprobs if sent.logprobs else None
    if sent.top_logprobs and not sent.logprobs:
        raise InvalidParameter("top_logprobs", "needs logprobs to be true.")
    wanted = Wanted(
        num_choices=sent.n,
        logprobs=num_top,
        prompt_logprobs=sent.prompt_logprobs,
        special_tokens=not sent.skip_special_tokens,
        truncate_prompt=_truncation(sent),
    )
    prompt = chat_prompt(sent)
    sampling, stopping = _sampling(body, sent), _stopping(sent, sent.max_tokens)
    request = Request(prompt, sampling, stopping, wanted, sent.model or None, caller, NAME, new_request_id("chatcmpl"))
    return Asked((request,), _shape(sent, num_top, echo=False))


# --- prompts


def prompts_of(value: Any, add_bos: bool, max_prompts: int) -> list[Prompt]:
    """The prompts that `value` is: a text, several, the tokens of one, or of several."""
    if isinstance(value, str):
        return [TextPrompt(value, add_bos)]
    if not isinstance(value, list):
        raise InvalidParameter("prompt", "must be a text, a list of texts, or token ids.")
    if not value:
        raise InvalidParameter("prompt", "is an empty list; send at least one prompt.")
    if not isinstance(value[0], str | list):
        return [TokenPrompt(token_ids("prompt", value))]
    if len(value) > max_prompts:
        raise InvalidParameter("prompt", f"takes at most {max_prompts} prompts at once, got {len(value)}.")
    return [_prompt(item, add_bos) for item in value]


def _prompt(item: Any, add_bos: bool) -> Prompt:
    if isinstance(item, str):
        return TextPrompt(item, add_bos)
    if isinstance(item, list) and item:
        return TokenPrompt(token_ids("prompt", item))
    raise InvalidParameter("prompt", "must hold texts or lists of token ids, and none of them empty.")


def chat_prompt(sent: ChatBody) -> ChatPrompt:
    if not sent.add_generation_prompt and not sent.continue_final_message:
        raise Unsupported("add_generation_prompt false is supported only with continue_final_message true.")
    if "{" in sent.chat_template:
        raise Unsupported("chat_template takes the name of a template on this server, not a template; leave it out.")
    variables = dict(sent.chat_template_kwargs)
    if sent.documents:
        variables["documents"] = sent.documents
    if sent.reasoning_effort:
        variables["reasoning_effort"] = sent.reasoning_effort
    messages = tuple(_message(index, message) for index, message in enumerate(sent.messages))
    return ChatPrompt(messages, sent.continue_final_message, sent.chat_template or None, variables)


def _message(index: int, body: dict[str, Any]) -> Message:
    try:
        sent = ChatMessage.of(body)
    except InvalidParameter as error:
        text = str(error).removeprefix(f"{error.name}: ")
        raise InvalidParameter(f"messages[{index}].{error.name}", text) from None
    role = "system" if sent.role == "developer" else sent.role  # the newer word for the same; no local template knows it
    extra = {name: value for name, value in body.items() if name not in ("role", "content") and value is not None}
    return Message(role, _text(f"messages[{index}].content", sent.content), extra)


def _text(name: str, content: Any) -> str:
    """The text of a message whose content may come in parts. Parts are paragraphs to most servers, and to this one."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidParameter(name, "must be a text or a list of parts.")
    texts = []
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text", part.get("refusal")) if isinstance(part, dict) else part
        if kind in ("image_url", "input_image", "image"):
            raise Unsupported(f"{name}[{at}]: images are not supported by this server yet; send text.")
        if kind in ("input_audio", "file", "video_url", "audio_url"):
            raise Unsupported(f"{name}[{at}]: {kind} parts are not supported by this server; send text.")
        if not isinstance(text, str):
            raise InvalidParameter(f"{name}[{at}]", "must be a part of type text, with a text.")
        texts.append(text)
    return "\n".join(texts)


# --- what both share


def _refuse(body: Mapping[str, Any]) -> None:
    features = _UNSUPPORTED if body.get("tool_choice") != "none" else {**_UNSUPPORTED, "tools": lambda value: False}
    refuse_unsupported(body, features)


def _sampling(body: Mapping[str, Any], sent: Common) -> SamplingParams:
    seed = body.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool) and -(2**63) <= seed < -1:
        body = {**body, "seed": seed & MAX_SEED}  # OpenAI's seeds are signed
    if body.get("best_of") == sent.n:
        body = {**body, "best_of": None}  # as many as are asked for is no choice
    order = body.get("sampler_order")
    if isinstance(order, list) and any(isinstance(step, int | float) for step in order):
        body = {
            **body,
            "sampler_order": list(read_order("kobold", "sampler_order", order)),
        }  # KoboldCpp's clients come here too
    return sampling_from(NAME, body)


def _stopping(sent: Common, max_tokens: int | None) -> Stopping:
    return Stopping(
        max_tokens=max_tokens,
        strings=tuple(sent.stop),
        include_string=sent.include_stop_str_in_output,
        token_ids=token_ids("stop_token_ids", sent.stop_token_ids),
        ignore_eos=sent.ignore_eos,
    )


def _truncation(sent: Common) -> int | None:
    if sent.truncate_prompt_tokens == 0:
        raise InvalidParameter("truncate_prompt_tokens", "must be -1, or 1 or more.")
    return MAX_COUNT if sent.truncate_prompt_tokens == -1 else sent.truncate_prompt_tokens


def _shape(sent: Common, num_top: int | None, echo: bool) -> Shape:
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
        prompt_logprobs=sent.prompt_logprobs is not None,
        stop_token_ids=frozenset(token_ids("stop_token_ids", sent.stop_token_ids)),
        token_ids_as_text=sent.return_tokens_as_token_ids,
    )
