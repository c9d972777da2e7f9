"""The declared parameters, the orders of the peers, and every dialect's way in."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import InvalidParameter
from publican.core.sampling import DECLARED, MAX_SEED, SAMPLING_PARAMETERS, SamplingParams
from publican.core.sampling.dialects import DIALECTS
from publican.core.sampling.lists import read_bias, read_texts, read_tokens
from publican.core.sampling.orders import DEFAULT_ORDERS, ORDERS, STEPS, read_order, temperature_behind_truncation
from publican.core.sampling.wire import dialect_defaults, sampling_names, sampling_params, tokenised

# --- declarations


def test_every_field_is_declared_once():
    assert set(DECLARED) == {f.name for f in dataclasses.fields(SamplingParams)}
    for name, parameter in DECLARED.items():
        parameter.check(parameter.neutral)
        assert parameter.text.endswith("."), name
        assert parameter.group, name
        assert set(parameter.wire) <= set(DIALECTS), name
        for dialect, wire in parameter.wire.items():
            assert wire.names or not wire.only, (name, dialect)
            if wire.default is not None:
                parameter.check(wire.default)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_name_means_two_things(dialect):
    """Within a dialect a name belongs to one parameter, but for those that one wins by rule."""
    owners: dict[str, list[str]] = {}
    for name, parameter in SAMPLING_PARAMETERS.items():
        wire = parameter.wire.get(dialect)
        names = (wire.names if wire else ()) + (() if wire and wire.only else (name, *parameter.aliases))
        for one in dict.fromkeys(names):
            owners.setdefault(one, []).append(name)
    assert {name: some for name, some in owners.items() if len(some) > 1} == {}


@pytest.mark.parametrize("name", sorted(SAMPLING_PARAMETERS))
def test_numbers_outside_the_range_are_refused(name):
    parameter = SAMPLING_PARAMETERS[name]
    if parameter.kind not in (int, float):
        return
    kind = parameter.kind
    bad = [float("nan"), float("inf"), float("-inf"), "1", True, [1]]
    bad += [] if math.isinf(parameter.high) else [kind(parameter.high * 1.01 + 1)]
    bad += [] if math.isinf(parameter.low) else [kind(parameter.low - 1)]
    bad += [parameter.low] if parameter.low_open else []
    for value in bad:
        with pytest.raises(InvalidParameter, match=name):
            SamplingParams(**{name: value})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(
                st.integers(), st.floats(), st.text(max_size=4), st.none(), st.lists(st.integers(), max_size=3), st.booleans()
            )
            for name in sorted(SAMPLING_PARAMETERS)
        },
    ),
    st.sampled_from(DIALECTS),
)
def test_any_body_gives_parameters_or_a_sentence(body, dialect):
    said = ""
    try:
        sampling_params(dialect, body)
    except InvalidParameter as error:
        said = str(error)
    assert not said or (said.endswith(".") and len(said) < 500)


def test_seeds_of_choices():
    assert SamplingParams(seed=5).for_choice(3).seed == 8
    assert SamplingParams(seed=MAX_SEED).for_choice(1).seed == 0
    assert SamplingParams().for_choice(3).seed is None


def test_biases():
    with pytest.raises(InvalidParameter, match="twice"):
        SamplingParams(logit_bias=((1, 1.0), (1, 2.0)))
    with pytest.raises(InvalidParameter, match="numbers"):
        SamplingParams(logit_bias=((1, math.nan),))
    with pytest.raises(InvalidParameter, match="knows no step"):
        SamplingParams(order=("top_k", "nonsense"))


def test_greedy():
    assert SamplingParams(temperature=0.0).is_greedy
    assert SamplingParams(do_sample=False, temperature=2.0).is_greedy
    assert not SamplingParams(temperature=0.1).is_greedy
    assert not SamplingParams(temperature=0.0, dynatemp_range=0.5).is_greedy
    assert SamplingParams(temperature=0.2, dynatemp_range=0.5).dynatemp_bounds == (0.0, 0.7)


# --- orders


def test_default_orders():
    """Every peer's steps are all there, each once, and those it has stand as it has them."""
    for name, order in ORDERS.items():
        assert sorted(order) == sorted(STEPS), name
        assert order.index("skew") == len(order) - 1 or name == "exllamav2", name
    place = {name: {step: i for i, step in enumerate(order)} for name, order in ORDERS.items()}
    chains = {
        "ooba": "repetition_penalty presence_penalty frequency_penalty dry top_n_sigma temperature dynamic_temperature "
        "quadratic_sampling top_k top_p typical_p epsilon_cutoff eta_cutoff tfs top_a min_p xtc encoder_repetition_penalty",
        "kobold": "dry repetition_penalty top_k top_a tfs typical_p top_p min_p temperature quadratic_sampling top_n_sigma xtc",
        "koboldai": "repetition_penalty top_k top_a top_p tfs typical_p temperature",
        "llamacpp": "repetition_penalty dry top_n_sigma top_k typical_p top_p min_p xtc temperature",
        "vllm": "repetition_penalty temperature min_p top_k top_p",
        "tgi": "repetition_penalty frequency_penalty temperature top_k top_p typical_p",
        "aphrodite": "dry repetition_penalty no_repeat_ngram temperature top_n_sigma top_p top_a min_p tfs eta_cutoff "
        "epsilon_cutoff typical_p quadratic_sampling xtc skew",
        "transformers": "encoder_repetition_penalty repetition_penalty no_repeat_ngram temperature top_h top_k top_p typical_p",
        "exllamav2": "dry quadratic_sampling temperature top_k top_p top_a min_p tfs typical_p dynamic_temperature xtc",
        "tabby": "repetition_penalty temperature top_k top_p min_p xtc",
    }
    for name, chain in chains.items():
        places = [place[name][step] for step in chain.split()]
        assert places == sorted(places), name


def test_kobolds_numbers():
    order = read_order("kobold", "sampler_order", [6, 0, 1, 3, 4, 2, 5])
    assert order == ORDERS["kobold"]
    twice = read_order("kobold", "sampler_order", [5, 0, 5])
    assert [step for step in twice if step in ("temperature", "top_k", "top_p")] == ["temperature", "top_k", "temperature"]
    assert "repetition_penalty" not in twice
    assert "dry" in twice
    for bad in ([7], [-1], [1.5], "60", [True], [0] * 65, None):
        with pytest.raises(InvalidParameter):
            read_order("kobold", "sampler_order", bad)


def test_llamacpps_names_and_letters():
    names = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]
    assert read_order("llamacpp", "samplers", names) == ORDERS["llamacpp"]
    assert read_order("llamacpp", "samplers", "edskypmxt") == ORDERS["llamacpp"]
    assert read_order("llamacpp", "samplers", ["Top-K", "nucleus", "TEMP", "typ", "unheard_of"]) == read_order(
        "llamacpp", "samplers", "kpty"
    )
    short = read_order("llamacpp", "samplers", ["min_p", "temperature"])
    assert "top_k" not in short
    assert "repetition_penalty" not in short
    assert "smoothing" not in "".join(short)
    assert "quadratic_sampling" in short  # llama.cpp has no name for it, so it could not be left out


def test_oobas_priority():
    listed = read_order("ooba_openai", "sampler_priority", ["min_p", "temperature", "mirostat", "repetition_penalty"])
    assert listed[-6:-3] == ("min_p", "temperature", "repetition_penalty")
    assert listed.index("top_k") < listed.index("min_p")  # what the list lacks comes first
    assert read_order("ooba", "sampler_priority", "min_p\ntemperature") == read_order(
        "ooba", "sampler_priority", ["min_p", "temperature"]
    )
    last = sampling_params("ooba_openai", {"temperature_last": True})
    assert last.order[-3:] == ("temperature", "dynamic_temperature", "quadratic_sampling")
    assert not last.temperature_last


def test_aphrodites_numbers_and_names():
    by_number = read_order("aphrodite", "sampler_priority", [7, 6, 8, 5, 9, 0, 1, 2, 3, 10, 11, 4, 12, 13])
    by_name = read_order(
        "aphrodite",
        "sampler_priority",
        [
            *("dry", "penalties", "no_repeat_ngram", "temperature", "top_nsigma", "top_p_top_k", "top_a", "min_p", "tfs"),
            *("eta_cutoff", "epsilon_cutoff", "typical_p", "quadratic", "xtc"),
        ],
    )
    assert by_number == by_name
    with pytest.raises(InvalidParameter, match="knows no sampler"):
        read_order("aphrodite", "sampler_priority", [99])


def test_an_order_by_its_peers_name():
    assert read_order("openai", "order", "llamacpp") == ORDERS["llamacpp"]
    assert sampling_params("openai", {"sampler_priority": ["top_k", "temperature", "adaptive_p"]}).order == (
        "top_k",
        "temperature",
    )
    with pytest.raises(InvalidParameter, match="knows no step"):
        read_order("openai", "order", ["top_q"])


def test_temperature_last():
    assert temperature_behind_truncation(STEPS)[-5:] == (
        "temperature",
        "dynamic_temperature",
        "quadratic_sampling",
        "xtc",
        "skew",
    )
    assert temperature_behind_truncation(("temperature", "xtc", "top_k")) == ("xtc", "top_k", "temperature")


# --- dialects


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_silent_request(dialect):
    params = sampling_params(dialect, {})
    for name, value in dialect_defaults(dialect).items():
        if name != "do_sample":
            assert getattr(params, name) == value
    assert params.order == (ORDERS[DEFAULT_ORDERS[dialect]] if dialect in DEFAULT_ORDERS else ())
    assert {"temperature", "top_p", "logit_bias", "preset"} <= sampling_names(dialect)


def test_defaults_of_the_peers():
    kobold, llama, old, new, ollama = (sampling_params(d, {}) for d in ("kobold", "llamacpp", "ooba", "ooba_openai", "ollama"))
    assert (kobold.temperature, kobold.top_k, kobold.top_p, kobold.repetition_penalty_range) == (0.75, 100, 0.92, 320)
    assert (llama.temperature, llama.top_k, llama.top_p, llama.min_p, llama.dry_range) == (0.8, 40, 0.95, 0.05, 64)
    assert (old.temperature, old.repetition_penalty, old.repetition_penalty_range) == (0.5, 1.1, 0)
    assert (new.temperature, new.top_p, new.repetition_penalty_range, new.dry_range) == (1.0, 0.95, 1024, 1024)
    assert (ollama.temperature, ollama.top_k, ollama.top_p, ollama.min_p) == (0.8, 40, 0.9, 0.0)


def test_a_penalty_range_of_zero():
    """Off for KoboldCpp, llama.cpp, Ollama and tabbyAPI; everything for ooba and for publican."""
    for dialect in ("kobold", "llamacpp", "ollama", "tabby"):
        params = sampling_params(dialect, {"repetition_penalty": 1.3, "presence_penalty": 0.5, "repetition_penalty_range": 0})
        assert (params.repetition_penalty, params.presence_penalty) == (1.0, 0.0), dialect
        params = sampling_params(dialect, {"repetition_penalty": 1.3, "repetition_penalty_range": -1})
        assert (params.repetition_penalty, params.repetition_penalty_range) == (1.3, 0), dialect
    for dialect in ("ooba", "ooba_openai", "openai", "aphrodite"):
        params = sampling_params(dialect, {"repetition_penalty": 1.3, "repetition_penalty_range": 0})
        assert (params.repetition_penalty, params.repetition_penalty_range) == (1.3, 0), dialect


def test_a_dry_range_of_zero():
    for dialect in ("llamacpp", "ollama"):
        assert sampling_params(dialect, {"dry_multiplier": 0.8, "dry_penalty_last_n": 0}).dry_multiplier == 0.0
        assert sampling_params(dialect, {"dry_multiplier": 0.8, "dry_penalty_last_n": -1}).dry_multiplier == 0.8
    for dialect in ("kobold", "tabby", "ooba_openai", "aphrodite", "openai"):
        params = sampling_params(dialect, {"dry_multiplier": 0.8, "dry_penalty_last_n": 0})
        assert (params.dry_multiplier, params.dry_range) == (0.8, 0), dialect


@pytest.mark.parametrize(
    ("dialect", "value", "target"),
    [
        ("ooba_openai", 0, None),
        ("kobold", 0.0, None),
        ("kobold", -1, None),
        ("tabby", 1.0, None),
        ("tabby", -0.01, None),
        ("tabby", 0.4, 0.4),
        ("openai", -1, None),
        ("openai", 0.0, 0.0),
        ("openai", 0.3, 0.3),
    ],
)
def test_adaptive_target(dialect, value, target):
    assert sampling_params(dialect, {"adaptive_target": value}).adaptive_target == target


def test_adaptive_p_of_llamacpp_must_be_named():
    assert sampling_params("llamacpp", {"adaptive_target": 0.3}).adaptive_target is None
    assert sampling_params("llamacpp", {"adaptive_target": 0.3, "samplers": ["min_p", "adaptive_p"]}).adaptive_target == 0.3
    assert sampling_params("llamacpp", {"adaptive_target": 5, "samplers": "ma"}).adaptive_target == 1.0


def test_cutoffs_in_units_of_a_ten_thousandth():
    for dialect in ("ooba", "ooba_openai"):
        params = sampling_params(dialect, {"epsilon_cutoff": 3, "eta_cutoff": 10.42})
        assert (params.epsilon_cutoff, params.eta_cutoff) == pytest.approx((3e-4, 1.042e-3))
    assert sampling_params("aphrodite", {"epsilon_cutoff": 0.0003}).epsilon_cutoff == 0.0003


def test_top_k_of_minus_one():
    for dialect in ("openai", "vllm", "aphrodite", "tabby", "ooba", "llamacpp", "ollama"):
        assert sampling_params(dialect, {"top_k": -1}).top_k == 0, dialect
    for dialect in ("tgi", "anthropic"):
        with pytest.raises(InvalidParameter):
            sampling_params(dialect, {"top_k": -1})


def test_seeds():
    assert sampling_params("ooba", {"seed": -1}).seed is None
    assert sampling_params("llamacpp", {"seed": 4294967295}).seed is None
    assert sampling_params("kobold", {"sampler_seed": 0, "seed": 12}).seed is None
    assert sampling_params("kobold", {"sampler_seed": 9, "seed": 12}).seed == 9
    assert sampling_params("openai", {"seed": 0}).seed == 0


def test_dynamic_temperature_in_every_dialect():
    sillytavern = {
        "temperature": 1.0,
        "dynatemp_low": 0.5,
        "dynatemp_high": 1.5,
        "dynatemp_range": 0.5,
        "dynamic_temperature": True,
    }
    for dialect in ("ooba_openai", "kobold", "llamacpp", "tabby", "openai"):
        assert sampling_params(dialect, sillytavern).dynatemp_bounds == (0.5, 1.5), dialect
    assert sampling_params("tabby", {"min_temp": 0.5, "max_temp": 1.5, "temp_exponent": 2}).dynatemp_bounds == (0.5, 1.5)
    assert sampling_params("aphrodite", {"dynatemp_min": 0, "dynatemp_max": 0}).dynatemp_bounds is None
    assert sampling_params("llamacpp", {"temperature": 0.8, "dynatemp_range": 0.3}).dynatemp_bounds == pytest.approx((0.5, 1.1))
    assert sampling_params("ooba_openai", {"dynatemp_low": 0.5, "dynatemp_high": 1.5}).dynatemp_bounds is None
    assert sampling_params("ooba_openai", {**sillytavern, "temperature": 0}).is_greedy


def test_what_must_be_said_and_what_is_greedy():
    assert sampling_params("tgi", {}).is_greedy
    assert sampling_params("tgi", {"temperature": 1.0}).is_greedy
    assert not sampling_params("tgi", {"temperature": 0.7}).is_greedy
    assert not sampling_params("tgi", {"do_sample": True}).is_greedy
    assert not sampling_params("tgi", {"top_k": 5}).is_greedy
    assert sampling_params("ooba", {"do_sample": False}).is_greedy


def test_kobolds_own():
    params = sampling_params("kobold", {"rep_pen": 1.1, "repetition_penalty": 1.0, "repeat_penalty": 1.3})
    assert params.repetition_penalty == 1.3
    assert sampling_params("kobold", {"frequency_penalty": 0.4}).presence_penalty == 0.4
    assert sampling_params("kobold", {"banned_tokens": ["tapestry"], "custom_token_bans": "1, 2"}).banned_strings == (
        "tapestry",
    )
    assert sampling_params("kobold", {"banned_tokens": ["tapestry"], "custom_token_bans": "1, 2"}).banned_tokens == (1, 2)
    assert sampling_params("kobold", {"logit_bias": {"5": 500}}).logit_bias == ((5, 100.0),)
    assert sampling_params("kobold", {"use_default_badwordsids": True}).ban_eos_token
    assert sampling_params("kobold", {"guidance_scale": -1}).guidance_scale == 0.0


def test_llamacpps_own():
    params = sampling_params(
        "llamacpp", {"logit_bias": [[5, 1.5], [6, False], ["hello", -2]], "dry_base": 0.5, "ignore_eos": True}
    )
    assert (params.logit_bias, params.banned_tokens, params.text_bias) == (((5, 1.5),), (6,), (("hello", -2.0),))
    assert params.dry_base == 1.75
    assert params.ban_eos_token
    clamped = sampling_params("llamacpp", {"top_k": -5, "top_p": 3, "min_p": -1, "mirostat": 9, "temperature": -1})
    assert (clamped.top_k, clamped.top_p, clamped.min_p, clamped.mirostat_mode, clamped.temperature) == (0, 1.0, 0.0, 2, 0.0)
    with pytest.raises(InvalidParameter, match="repeat_penalty"):
        sampling_params("llamacpp", {"repeat_penalty": float("nan")})


def test_openais_own():
    for body in ({"presence_penalty": 2.5}, {"frequency_penalty": -3}, {"logit_bias": {"1": 101}}):
        with pytest.raises(InvalidParameter):
            sampling_params("openai", body)
    assert sampling_params("openai", {"presence_penalty": 1}).penalty_scope == "generated"
    assert not sampling_params("vllm", {"ignore_eos": True}).ban_eos_token


def test_tabbys_own():
    assert sampling_params("tabby", {"repetition_decay": None, "penalty_range": 256}).repetition_decay == 256
    assert sampling_params("tabby", {"repetition_decay": 3, "penalty_range": 256}).repetition_decay == 3
    assert sampling_params("tabby", {"dry_base": 0, "dry_multiplier": 0.8}).dry_base == 1.75


def test_variants_come_with_the_dialect():
    assert sampling_params("vllm", {}).top_k_keep_ties
    assert sampling_params("tabby", {}).top_p_exclusive
    assert sampling_params("kobold", {}).tfs_rule == "legacy"
    assert sampling_params("ooba", {}).xtc_protect == "abort"
    assert sampling_params("aphrodite", {}).typical_rule == "exclusive"


def test_what_sillytavern_sends_at_once():
    """One body under the names of all peers; each dialect takes its own, and none is refused."""
    body = {
        "temperature": 0.9,
        "top_p": 0.95,
        "typical_p": 1,
        "typical": 1,
        "min_p": 0,
        "repetition_penalty": 1.1,
        "rep_pen": 1.1,
        "repeat_penalty": 1.1,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "top_k": 0,
        "skew": 0,
        "min_tokens": 0,
        "smoothing_factor": 0,
        "smoothing_curve": 1,
        "dry_allowed_length": 2,
        "dry_multiplier": 0,
        "dry_base": 1.75,
        "dry_sequence_breakers": '["\\n",":","\\"","*"]',
        "dry_penalty_last_n": 0,
        "ban_eos_token": False,
        "ignore_eos": False,
        "top_a": 0,
        "tfs": 1,
        "mirostat_mode": 0,
        "mirostat": 0,
        "mirostat_tau": 5,
        "mirostat_eta": 0.1,
        "custom_token_bans": "",
        "banned_strings": [],
        "xtc_threshold": 0.1,
        "xtc_probability": 0,
        "nsigma": 0,
        "top_n_sigma": 0,
        "min_keep": 0,
        "adaptive_target": -0.01,
        "adaptive_decay": 0.9,
        "rep_pen_range": 0,
        "repetition_penalty_range": 0,
        "repeat_last_n": 0,
        "guidance_scale": 1,
        "negative_prompt": "",
        "rep_pen_slope": 1,
        "samplers": ["penalties", "dry", "top_k", "temperature"],
        "sampler_order": [6, 0, 1, 3, 4, 2, 5],
        "sampler_priority": ["repetition_penalty", "temperature", "top_k"],
        "seed": 5,
        "sampler_seed": 5,
    }
    for dialect in DIALECTS:
        own = {**body, "sampler_priority": [7, 6, 5]} if dialect == "aphrodite" else body
        params = sampling_params(dialect, own)
        assert params.temperature == 0.9
        assert params.seed == 5
        assert params.adaptive_target is None
        assert params.banned_tokens == ()
        assert params.dry_sequence_breakers == ("\n", ":", '"', "*")
        off = dialect in ("kobold", "llamacpp", "ollama", "tabby")
        assert params.repetition_penalty == (1.0 if off else 1.1), dialect


def test_who_wins():
    defaults = {"temperature": 0.3, "top_p": 0.5}
    preset = {"temperature": 1.7, "top_k": 9}
    params = sampling_params("openai", {"temperature": 0.6}, preset, defaults)
    assert (params.temperature, params.top_k, params.top_p) == (0.6, 9, 0.5)
    params = sampling_params("llamacpp", {}, preset, defaults)
    assert (params.temperature, params.top_k, params.top_p, params.min_p) == (1.7, 9, 0.5, 0.05)
    params = sampling_params("ooba", {"temperature": 0.6, "top_p": 0.1, "seed": 3}, preset)
    assert (params.temperature, params.top_k, params.top_p, params.repetition_penalty, params.seed) == (1.7, 9, 1.0, 1.0, 3)
    assert params.xtc_protect == "abort"


# --- lists


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (["a", "b", "a"], ("a", "b")),
        ('["\\n", ":"]', ("\n", ":")),
        ('"\\n", ":", "\\"", "*"', ("\n", ":", '"', "*")),
        ("a, b,c", ("a", "b", "c")),
        ("", ()),
        ([], ()),
        ('", "', (", ",)),
    ],
)
def test_texts(value, texts):
    assert read_texts("x", value) == texts


@pytest.mark.parametrize("value", [5, [1], {"a": 1}, ["a"] * 5000, None])
def test_what_is_no_list_of_texts(value):
    with pytest.raises(InvalidParameter):
        read_texts("x", value)


def test_tokens():
    assert read_tokens("x", "1, 2,,3") == (1, 2, 3)
    assert read_tokens("x", [1, 2.0, "3", 1]) == (1, 2, 3)
    assert read_tokens("x", "[4, 5]") == (4, 5)
    for bad in ("a", [1.5], [-1], [2**40], [True], 5, "9" * 20, None):
        with pytest.raises(InvalidParameter):
            read_tokens("x", bad)


def test_bias_shapes():
    assert read_bias("x", {"1": 2, "hi": False}) == (((1, 2.0),), (), (("hi", -math.inf),))
    for bad in ("a", [1], [[1, 2, 3]], {"1": "x"}, {"1": True}, {"-1": 1.0}, {"1": math.nan}, 5):
        with pytest.raises(InvalidParameter):
            read_bias("x", bad)


@given(st.text(max_size=200))
def test_any_text_is_a_list_of_texts_or_refused(text):
    assert all(read_texts("x", text)) or not text


def test_texts_become_tokens():
    def encode(text: str) -> list[int]:
        return [ord(c) for c in text]

    params = SamplingParams(text_bias=(("ab", 1.5), ("c", -math.inf)), bad_words=("xy",), logit_bias=((97, 1.0),))
    done = tokenised(params, encode)
    assert dict(done.logit_bias) == {97: 2.5, 98: 1.5}
    assert done.banned_tokens == (99,)
    assert done.sequence_bias == (((120, 121), -math.inf), ((32, 120, 121), -math.inf))
    assert (done.text_bias, done.bad_words) == ((), ())
    assert tokenised(SamplingParams(), encode) == SamplingParams()
