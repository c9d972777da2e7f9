"""From a request's body to `SamplingParams`, in every dialect: names, defaults, presets, and where peers mean the opposite.

`apis` calls `sampling_params`; the host calls `tokenised` once it has a tokenizer. Facts: section 2.1 of the sampler notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from publican.core.errors import InvalidParameter
from publican.core.ids import TokenId
from publican.core.parameters import from_wire, sent_as, wire_defaults, wire_names
from publican.core.sampling.dialects import OOBA
from publican.core.sampling.lists import read_bias
from publican.core.sampling.orders import DEFAULT_ORDERS, ORDERS, names_adaptive_p, read_order, temperature_at_end
from publican.core.sampling.params import DECLARED, SAMPLING_PARAMETERS, SamplingParams

ORDER_NAMES = {
    "kobold": ("sampler_order",),
    "llamacpp": ("samplers",),
    "ollama": ("samplers",),
}
"""Under which names a dialect sends an order; the others all of them."""

_OF_PRESETS = frozenset(
    name
    for name, parameter in DECLARED.items()
    if parameter.group in ("shape", "truncation", "penalties", "feedback")
    or name in ("do_sample", "penalty_alpha", "guidance_scale")
)
"""What a preset of ooba's replaces, whether it names it or not."""

_ALL_ORDER_NAMES = ("sampler_priority", "order", "sampler_order", "samplers")
ZERO_RANGE_IS_OFF = ("kobold", "llamacpp", "ollama", "tabby")
"""Where a range of 0 means no penalties at all."""
ZERO_DRY_RANGE_IS_OFF = ("llamacpp", "ollama")


def sampling_params(
    dialect: str,
    body: Mapping[str, Any],
    preset: Mapping[str, Any] | None = None,
    model_defaults: Mapping[str, Any] | None = None,
) -> SamplingParams:
    """The sampling parameters of a request.

    What wins: the body, the preset, the model's defaults, the dialect's defaults, neutral. In ooba's dialects a preset wins
    over all others, and what it does not name becomes neutral, as their clients expect.

    Args:
        body: the request as it came; keys that are no sampling parameter are passed over, null is silence.
        preset: canonical names and values, as `core.presets` gives them.
        model_defaults: the same, from the model's own configuration or the host's settings.

    Raises:
        InvalidParameter: a value is of the wrong type or outside its range, named as the caller named it.
    """
    below = {**dialect_defaults(dialect), **(model_defaults or {})}
    values = said(dialect, body, below, preset)
    return SamplingParams(**values)


def said(
    dialect: str,
    body: Mapping[str, Any],
    below: Mapping[str, Any] | None = None,
    preset: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `body` says, over `below`, by canonical name; nothing about what none of them says. Raises InvalidParameter."""
    body = _without_unset(dialect, body)
    sent = {**from_wire(SAMPLING_PARAMETERS.values(), dialect, body, defaults=False), **_structured(dialect, body)}
    values = {**(below or {}), **(preset or {}), **sent}
    if preset is not None and dialect in OOBA:
        values = {name: value for name, value in values.items() if name not in _OF_PRESETS} | dict(preset)
    return _resolved(dialect, body, sent, values)


def dialect_defaults(dialect: str) -> dict[str, Any]:
    """What a silent request means in `dialect`, where that is not neutral; canonical names."""
    defaults = wire_defaults(SAMPLING_PARAMETERS.values(), dialect)
    if dialect in DEFAULT_ORDERS:
        defaults["order"] = ORDERS[DEFAULT_ORDERS[dialect]]
    return defaults


def sampling_names(dialect: str) -> frozenset[str]:
    """Every name under which `dialect` may send a sampling parameter."""
    names = {name for parameter in SAMPLING_PARAMETERS.values() for name in wire_names(parameter, dialect)}
    return frozenset(names | set(ORDER_NAMES.get(dialect, _ALL_ORDER_NAMES)) | {"logit_bias", "preset"})


def tokenised(params: SamplingParams, encode: Callable[[str], Sequence[int]]) -> SamplingParams:
    """`params` with every text turned into tokens that has to be tokens before the engine sees them.

    `encode` gives the tokens of a text, without a beginning-of-sequence token. A text's bias goes to each of its tokens; a bad
    word is forbidden with and without a space before it.
    """
    if not params.text_bias and not params.bad_words:
        return params
    bias = dict(params.logit_bias)
    banned = dict.fromkeys(params.banned_tokens)
    for text, value in params.text_bias:
        for token in map(TokenId, encode(text)):
            if value == float("-inf"):
                banned[token] = None
            else:
                bias[token] = bias.get(token, 0.0) + value
    runs = dict(params.sequence_bias)
    for word in params.bad_words:
        for text in (word, " " + word.lstrip()):
            tokens = tuple(map(TokenId, encode(text)))
            if tokens:
                runs[tokens] = float("-inf")
    return replace(
        params,
        logit_bias=tuple(bias.items()),
        banned_tokens=tuple(banned),
        sequence_bias=tuple(runs.items()),
        text_bias=(),
        bad_words=(),
    )


def _structured(dialect: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What does not fit one declaration: the order, and biases that are partly bans."""
    values: dict[str, Any] = {}
    names = ORDER_NAMES.get(dialect, _ALL_ORDER_NAMES)
    order = next((name for name in names if body.get(name) not in (None, "", [])), None)
    if order is not None:
        values["order"] = read_order(dialect, order, body[order])
    if body.get("logit_bias") not in (None, [], {}, ""):
        biases, banned, texts = read_bias("logit_bias", body["logit_bias"])
        if dialect == "kobold":
            biases = tuple((token, min(max(value, -100.0), 100.0)) for token, value in biases)
        if dialect in ("openai", "vllm") and any(not -100.0 <= value <= 100.0 for _, value in biases):
            raise InvalidParameter("logit_bias", "must hold numbers from -100 to 100.")
        values |= {"logit_bias": biases, "text_bias": texts}
        if banned:
            values["_bias_bans"] = banned
    return values


def _resolved(dialect: str, body: Mapping[str, Any], sent: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Where one value changes what another means."""
    values = dict(values)
    if "_bias_bans" in values:
        values["banned_tokens"] = tuple(dict.fromkeys((*values.get("banned_tokens", ()), *values.pop("_bias_bans"))))
    _resolve_ranges(dialect, body, sent, values)
    if dialect in OOBA:
        _resolve_ooba(values)
    elif "dynamic_temperature" not in sent and {"dynatemp_low", "dynatemp_high"} & sent.keys():
        values["dynamic_temperature"] = values.get("dynatemp_high", 1.0) > values.get("dynatemp_low", 1.0)
    if dialect == "kobold":
        _resolve_kobold(body, sent, values)
    elif dialect == "llamacpp" and not names_adaptive_p(body.get("samplers")):
        values.pop("adaptive_target", None)
    elif dialect == "tabby" and "repetition_decay" in body and body["repetition_decay"] is None:
        values["repetition_decay"] = values.get("repetition_penalty_range", 0)
    elif dialect == "tgi" and not values.get("do_sample", False):
        warpers = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "typical_p": 1.0}
        values["do_sample"] = any(values.get(name, neutral) != neutral for name, neutral in warpers.items())
    return values


def _resolve_ranges(dialect: str, body: Mapping[str, Any], sent: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Our range 0 is "all of it"; where a peer's 0 is "none of it", the strength becomes neutral instead."""
    if dialect in ZERO_RANGE_IS_OFF and _says_zero("repetition_penalty_range", dialect, body):
        for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
            values.pop(name, None)
    if dialect in ZERO_DRY_RANGE_IS_OFF and _says_zero("dry_range", dialect, body):
        values.pop("dry_multiplier", None)
    if dialect in OOBA and "dry_range" not in sent and "repetition_penalty_range" in values:
        values["dry_range"] = values["repetition_penalty_range"]


def _says_zero(name: str, dialect: str, body: Mapping[str, Any]) -> bool:
    sent = sent_as(SAMPLING_PARAMETERS[name], dialect, body)
    return sent is not None and body[sent] == 0


def _resolve_ooba(values: dict[str, Any]) -> None:
    values.pop("dynatemp_range", None)
    if values.get("temperature") == 0:
        values["do_sample"] = False
    if values.pop("temperature_last", False):
        values["order"] = temperature_at_end(values.get("order") or ORDERS["ooba"])


def _resolve_kobold(body: Mapping[str, Any], sent: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Of the names for one penalty the largest counts; OpenAI's frequency penalty stands in for a missing presence penalty."""
    penalties = [
        body[name] for name in wire_names(SAMPLING_PARAMETERS["repetition_penalty"], "kobold") if body.get(name) is not None
    ]
    if len(penalties) > 1 and "repetition_penalty" in values and all(isinstance(p, int | float) for p in penalties):
        values["repetition_penalty"] = float(max(penalties))
    if "presence_penalty" not in sent and "frequency_penalty" in sent:
        values["presence_penalty"] = values.pop("frequency_penalty")


def _without_unset(dialect: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """`body` without a DRY base below 1, which these peers take as "use your own"."""
    base = body.get("dry_base")
    unset = dialect in ("llamacpp", "ollama", "tabby") and isinstance(base, int | float) and base < 1
    return {name: value for name, value in body.items() if name != "dry_base"} if unset else body
