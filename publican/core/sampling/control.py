"""The parameters that steer: feedback samplers, bans, guidance, strings, constraints, search. Declarations only.

What the groups ``guidance``, ``strings``, ``constraints`` and ``search`` want is the engine's to carry out; the sampling
pipeline offers what that needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from publican.core.ids import TokenId
from publican.core.parameters import Wire, declare
from publican.core.sampling.dialects import OOBA, everywhere
from publican.core.sampling.lists import read_texts, read_tokens
from publican.core.sampling.penalties import Penalties
from publican.core.sampling.reading import read_decay, read_early_stopping, read_schema, read_sequence_bias

MAX_SEED = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Control(Penalties):
    """Everything that is not a shape or a penalty; all neutral by default."""

    mirostat_mode: int = declare(
        int,
        0,
        "Mirostat 1 or 2 holds the surprise of the text near mirostat_tau, and no truncation runs beside it; 0 is off.",
        low=0,
        high=2,
        aliases=("mirostat",),
        wire={"llamacpp": Wire(clamp=True)},
        group="feedback",
    )
    mirostat_tau: float = declare(
        float,
        5.0,
        "The surprise that mirostat aims at, in bits.",
        low=0.0,
        high=1000.0,
        wire={"tabby": Wire(default=1.5)},
        group="feedback",
    )
    mirostat_eta: float = declare(
        float,
        0.1,
        "How fast mirostat learns.",
        low=0.0,
        high=100.0,
        wire={"tabby": Wire(default=0.3)},
        group="feedback",
    )
    adaptive_target: float | None = declare(
        float,
        None,
        "Adaptive-p favours tokens about this likely, so that the average comes out there; none is off.",
        low=0.0,
        high=1.0,
        negative_off=True,
        wire={
            **everywhere(("kobold", *OOBA), Wire(off=(0.0,))),
            "tabby": Wire(off=(1.0,)),
            "llamacpp": Wire(clamp=True),
        },
        group="feedback",
    )
    adaptive_decay: float = declare(
        float,
        0.9,
        "How long adaptive-p remembers: 0 forgets at once.",
        low=0.0,
        high=0.99,
        wire=everywhere(("kobold", "tabby", *OOBA), Wire(clamp=True)),
        group="feedback",
    )

    allowed_tokens: tuple[TokenId, ...] = declare(
        tuple, (), "Only these tokens may come; empty is all.", read=read_tokens, aliases=("allowed_token_ids",), group="bans"
    )
    banned_tokens: tuple[TokenId, ...] = declare(
        tuple,
        (),
        "These tokens may not come.",
        read=read_tokens,
        aliases=("custom_token_bans",),
        wire={"kobold": Wire(names=("custom_token_bans",), only=True)},
        group="bans",
    )
    bad_words: tuple[str, ...] = declare(
        tuple, (), "Texts whose last token may not complete them.", read=read_texts, group="bans"
    )
    sequence_bias: tuple[tuple[tuple[TokenId, ...], float], ...] = declare(
        tuple,
        (),
        "Runs of tokens, and what is added to the logit of the last one when the others stand before it.",
        read=read_sequence_bias,
        group="bans",
    )
    min_tokens: int = declare(
        int,
        0,
        "No end of answer before this many tokens.",
        low=0,
        high=2**31 - 1,
        aliases=("min_length", "min_new_tokens"),
        group="bans",
    )
    ban_eos_token: bool = declare(
        bool,
        False,
        "The model may not end its answer.",
        wire={
            "llamacpp": Wire(names=("ignore_eos",)),
            "tabby": Wire(names=("ban_eos_token", "ignore_eos")),
            "kobold": Wire(names=("ban_eos_token", "use_default_badwordsids")),
        },
        group="bans",
    )
    exponential_decay_length_penalty: tuple[float, ...] = declare(
        tuple,
        (),
        "From this many tokens on, the end of the answer grows likelier by this factor per token: [start, factor].",
        read=read_decay,
        group="bans",
    )

    do_sample: bool = declare(bool, True, "False always takes the likeliest token.", group="selection")
    seed: int | None = declare(
        int,
        None,
        "Makes the choices repeatable; none means a new one each time.",
        low=0,
        high=MAX_SEED,
        wire={
            **everywhere(("openai", *OOBA, "tabby", "aphrodite", "vllm", "ollama"), Wire(off=(-1,))),
            "kobold": Wire(names=("sampler_seed",), off=(-1, 0, 0xFFFFFFFF)),
            "llamacpp": Wire(off=(-1, 0xFFFFFFFF)),
        },
        group="selection",
    )
    processed_logprobs: bool = declare(
        bool,
        False,
        "Log probabilities are those of the distribution drawn from, instead of the model's own.",
        aliases=("post_sampling_probs",),
        wire=everywhere(("kobold", "tgi"), Wire(default=True)),
        group="selection",
    )

    guidance_scale: float = declare(
        float,
        1.0,
        "Classifier-free guidance: above 1 moves away from what negative_prompt would lead to.",
        low=0.0,
        high=100.0,
        aliases=("cfg_scale",),
        wire={"kobold": Wire(clamp=True)},
        group="guidance",
    )
    negative_prompt: str = declare(str, "", "The prompt that guidance moves away from.", group="guidance")

    banned_strings: tuple[str, ...] = declare(
        tuple,
        (),
        "Texts that may not appear: the answer goes back to where one began and takes another way.",
        read=read_texts,
        wire={"kobold": Wire(names=("banned_tokens",))},
        group="strings",
    )
    token_healing: bool = declare(
        bool,
        False,
        "Takes the prompt's last token back, and lets the answer begin with any token that starts like it. "
        "Does nothing where a grammar is followed.",
        group="strings",
    )

    grammar: str = declare(
        str,
        "",
        "A grammar (GBNF, EBNF or Lark) that the answer follows.",
        aliases=("grammar_string", "guided_grammar"),
        group="constraints",
    )
    json_schema: str = declare(
        str, "", "A JSON schema that the answer follows.", read=read_schema, aliases=("guided_json",), group="constraints"
    )
    regex: str = declare(
        str, "", "A regular expression that the answer matches.", aliases=("guided_regex", "regex_pattern"), group="constraints"
    )
    choice: tuple[str, ...] = declare(
        tuple, (), "The answer is one of these texts.", read=read_texts, aliases=("guided_choice",), group="constraints"
    )

    best_of: int = declare(
        int, 1, "Answers tried, of which the ones with the best mean log probability are given.", low=1, high=64, group="search"
    )
    num_beams: int = declare(int, 1, "Beam search with this many beams; 1 is off.", low=1, high=64, group="search")
    length_penalty: float = declare(
        float, 1.0, "A finished beam's score is divided by its length to this power.", low=-100.0, high=100.0, group="search"
    )
    early_stopping: str = declare(
        str,
        "false",
        "Whether beam search stops as soon as there are enough finished beams, when none can get better, or never.",
        options=("false", "true", "never"),
        read=read_early_stopping,
        group="search",
    )
    penalty_alpha: float = declare(
        float,
        0.0,
        "Contrastive search: how much a token that leads to what was already said is held against it; needs top_k.",
        low=0.0,
        high=1.0,
        group="search",
    )

    top_k_keep_ties: bool = declare(
        bool,
        False,
        "top_k keeps every token that equals the kth.",
        wire=everywhere(("vllm", "tgi", "aphrodite"), Wire(default=True)),
        group="variants",
    )
    top_p_exclusive: bool = declare(
        bool,
        False,
        "top_p drops the token that crosses the limit, unless it is the first.",
        wire={"tabby": Wire(default=True)},
        group="variants",
    )
    typical_rule: str = declare(
        str,
        "ties",
        "typical_p keeps the token that crosses the limit and its ties, without its ties (strict), or drops it (exclusive).",
        options=("ties", "strict", "exclusive"),
        wire={**everywhere(("llamacpp", "kobold"), Wire(default="strict")), "aphrodite": Wire(default="exclusive")},
        group="variants",
    )
    tfs_rule: str = declare(
        str,
        "centred",
        "Where tfs cuts: at the centre of the second differences, or one earlier as older llama.cpp and KoboldCpp do.",
        options=("centred", "legacy"),
        wire={"kobold": Wire(default="legacy")},
        group="variants",
    )
    top_n_sigma_sample: bool = declare(
        bool,
        False,
        "top_n_sigma divides the variance by n - 1.",
        wire=everywhere((*OOBA, "aphrodite"), Wire(default=True)),
        group="variants",
    )
    xtc_protect: str = declare(
        str,
        "exclude",
        "XTC never excludes special tokens and line ends (exclude), does nothing if it would (abort), or does not care (none).",
        options=("exclude", "abort", "none"),
        wire={
            **everywhere(OOBA, Wire(default="abort")),
            **everywhere(("llamacpp", "kobold", "aphrodite"), Wire(default="none")),
        },
        group="variants",
    )
    xtc_rule: str = declare(
        str,
        "roll",
        "XTC rolls a die at each token, or always mixes the two outcomes (expectation).",
        options=("roll", "expectation"),
        wire={"tabby": Wire(default="expectation")},
        group="variants",
    )
    dynatemp_keeps_temperature: bool = declare(
        bool,
        False,
        "Dynamic temperature runs beside temperature instead of in its place.",
        wire=everywhere(OOBA, Wire(default=True)),
        group="variants",
    )
    mirostat_truncates: bool = declare(
        bool,
        False,
        "Truncation runs before mirostat too.",
        wire=everywhere(OOBA, Wire(default=True)),
        group="variants",
    )
