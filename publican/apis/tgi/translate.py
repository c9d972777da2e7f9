"""TGI's bodies to requests. Pure: raises what is wrong with a body, in TGI's own words where it has some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from publican.apis.asking import Asking
from publican.apis.fields import sampling_from
from publican.apis.messages import messages_of, tools_of, within
from publican.apis.tgi.schema import MAX_BEST_OF, MAX_TOP_N, ChatTokenizeBody, GenerateBody, Parameters
from publican.core.errors import InvalidParameter, InvalidRequest, Unsupported
from publican.core.request import MAX_STOP_STRINGS, ChatPrompt, Request, Stopping, TextPrompt, Wanted, new_request_id
from publican.core.sampling import SamplingParams

NAME = "tgi"

_ABOVE_ZERO = ("temperature", "repetition_penalty", "top_k")
_SHARES = ("top_p", "typical_p")
_GRAMMARS = {"json": "json_schema", "json_schema": "json_schema", "regex": "regex"}


@dataclass(frozen=True, slots=True)
class Shape:
    """How the caller wants the answer written down.

    Attributes:
        before: what the text begins with: the prompt, where the full text is wanted.
        details: whether the answer says its tokens; `prefill` whether the prompt's too.
        num_top: alternatives beside each token; 0 for none.
        seed: the caller's own.
    """

    before: str = ""
    details: bool = False
    prefill: bool = False
    num_top: int = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, understood."""

    request: Request
    shape: Shape
    stream: bool


def generate(body: Mapping[str, Any], asking: Asking, stream: bool | None = None, full_text: bool = False) -> Asked:
    """POST /generate and its kin. Raises InvalidRequest.

    Args:
        stream: None leaves it to the body.
        full_text: whether the prompt stands before the answer if the caller does not say.
    """
    sent = GenerateBody.of(body)
    parameters = within("parameters", Parameters, sent.parameters)
    stream = sent.stream if stream is None else stream
    if not sent.inputs:
        raise InvalidParameter("inputs", "cannot be empty")
    _check_numbers(sent.parameters)
    sampling = _sampling(sent.parameters, parameters, asking)
    _check(parameters, sampling, stream)
    num_top = parameters.top_n_tokens or 0
    details = parameters.details or parameters.decoder_input_details
    wanted = Wanted(
        num_choices=parameters.best_of or 1,
        logprobs=num_top if stream or details or parameters.best_of else None,
        prompt_logprobs=0 if parameters.decoder_input_details else None,
        truncate_prompt=parameters.truncate,
    )
    stopping = Stopping(parameters.max_new_tokens, tuple(parameters.stop), include_string=True)
    id = new_request_id("tgi")
    request = Request(TextPrompt(sent.inputs), sampling, stopping, wanted, None, asking.caller, NAME, id)
    full_text = full_text if parameters.return_full_text is None else parameters.return_full_text
    before = sent.inputs if full_text else ""
    return Asked(request, Shape(before, details, parameters.decoder_input_details, num_top, sampling.seed), stream)


def chat(body: Mapping[str, Any]) -> ChatPrompt:
    """POST /chat_tokenize. Raises InvalidRequest."""
    sent = ChatTokenizeBody.of(body)
    return ChatPrompt(messages_of(sent.messages), tools=tools_of(sent.tools))


def _check_numbers(sent: Mapping[str, Any]) -> None:
    """Limits that TGI's clients know, and that are narrower than ours."""
    for name in (*_ABOVE_ZERO, *_SHARES):
        value = sent.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue  # silence, or what the declaration refuses
        if name in _ABOVE_ZERO and value <= 0:
            raise InvalidParameter(name, "must be strictly positive")
        if name in _SHARES and not 0 < value < 1:
            raise InvalidParameter(name, "must be > 0.0 and < 1.0")


def _check(sent: Parameters, sampling: SamplingParams, stream: bool) -> None:
    best_of = sent.best_of or 1
    if sent.max_new_tokens <= 0:
        raise InvalidParameter("max_new_tokens", "must be strictly positive")
    if sent.truncate is not None and sent.truncate <= 0:
        raise InvalidParameter("truncate", "must be strictly positive")
    if len(sent.stop) > MAX_STOP_STRINGS:
        raise InvalidParameter("stop", f"supports up to {MAX_STOP_STRINGS} stop sequences. Given: {len(sent.stop)}")
    if (sent.top_n_tokens or 0) > MAX_TOP_N:
        raise InvalidParameter("top_n_tokens", f"must be >= 0 and <= {MAX_TOP_N}. Given: {sent.top_n_tokens}")
    if sent.best_of is not None and not 1 <= sent.best_of <= MAX_BEST_OF:
        raise InvalidParameter("best_of", f"must be > 0 and <= {MAX_BEST_OF}. Given: {sent.best_of}")
    if best_of > 1 and stream:
        raise InvalidRequest("`best_of` != 1 is not supported when streaming tokens")
    if best_of > 1 and sampling.is_greedy:
        raise InvalidRequest("you must use sampling when `best_of` is > 1")
    if best_of > 1 and sampling.seed is not None:
        raise InvalidRequest("`seed` must not be set when `best_of` > 1")
    if sent.decoder_input_details and stream:
        raise InvalidRequest("`decoder_input_details` == true is not supported when streaming tokens")
    if sent.watermark or sent.adapter_id:
        name = "watermark" if sent.watermark else "adapter_id"
        raise Unsupported(f"`{name}` is not supported by this server; leave it out")


def _sampling(body: Mapping[str, Any], sent: Parameters, asking: Asking) -> SamplingParams:
    """The several tries of `best_of` are answers of their own, because all of them are told."""
    values = {name: value for name, value in body.items() if name not in ("best_of", "grammar")}
    if sent.grammar:
        kind, value = sent.grammar.get("type"), sent.grammar.get("value")
        if not isinstance(kind, str) or kind not in _GRAMMARS or not value:
            raise InvalidParameter("grammar", f"must have a value and be of type {', '.join(_GRAMMARS)}")
        schema = value.get("schema", value) if kind == "json_schema" and isinstance(value, Mapping) else value
        values[_GRAMMARS[kind]] = schema
    sampling = sampling_from(NAME, values, asking.presets)
    # of a distribution that is drawn from greedily every logarithm would be 0; TGI tells the model's own then
    return replace(sampling, processed_logprobs=False) if sampling.is_greedy else sampling
