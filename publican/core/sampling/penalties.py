"""The parameters that look back at what is already there: penalties, DRY, n-gram bans. Declarations only.

Wherever a parameter says how far back, 0 is all of it. Dialects in which 0 means "off" are turned round in wire.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from publican.core.parameters import Wire, declare
from publican.core.sampling.dialects import OOBA, OUTPUT_ONLY, everywhere
from publican.core.sampling.lists import read_texts
from publican.core.sampling.shape import Shape

DEFAULT_BREAKERS = ("\n", ":", '"', "*")


@dataclass(frozen=True, slots=True)
class Penalties(Shape):
    """What repetition costs; all neutral by default."""

    repetition_penalty: float = declare(
        float,
        1.0,
        "Divides the positive and multiplies the negative logits of tokens already there.",
        low=0.01,
        high=100.0,
        aliases=("rep_pen", "repeat_penalty"),
        wire={
            "ooba": Wire(default=1.1),
            "kobold": Wire(names=("rep_pen",)),
            "llamacpp": Wire(names=("repeat_penalty",)),
            "ollama": Wire(names=("repeat_penalty",)),
        },
        group="penalties",
    )
    repetition_penalty_range: int = declare(
        int,
        0,
        "How many of the last tokens the penalties look at; 0 is all of them.",
        low=0,
        high=2**31 - 1,
        aliases=("rep_pen_range", "repetition_range", "penalty_range", "repeat_last_n"),
        wire={
            "ooba_openai": Wire(default=1024),
            "kobold": Wire(names=("rep_pen_range",), default=320, off=(-1,)),
            "llamacpp": Wire(names=("repeat_last_n",), default=64, off=(-1,)),
            "ollama": Wire(names=("repeat_last_n",), default=64, off=(-1,)),
            "tabby": Wire(names=("penalty_range",), off=(-1,)),
        },
        group="penalties",
    )
    repetition_penalty_slope: float = declare(
        float,
        1.0,
        "How much of the repetition penalty the older half of the window gets (see repetition_slope_rule); 1 is all.",
        low=0.0,
        high=100.0,
        aliases=("rep_pen_slope",),
        group="penalties",
    )
    repetition_decay: int = declare(
        int,
        0,
        "Over how many tokens beyond the range the penalties fade to nothing.",
        low=0,
        high=2**31 - 1,
        aliases=("penalty_decay",),
        group="penalties",
    )
    presence_penalty: float = declare(
        float,
        0.0,
        "Subtracted from the logit of every token already there.",
        low=-100.0,
        high=100.0,
        aliases=("presence_pen", "additive_repetition_penalty"),
        wire=everywhere(("openai", "vllm", "tgi"), Wire(low=-2.0, high=2.0)),
        group="penalties",
    )
    frequency_penalty: float = declare(
        float,
        0.0,
        "Subtracted from a token's logit once for each time it is already there.",
        low=-100.0,
        high=100.0,
        aliases=("frequency_pen",),
        wire=everywhere(("openai", "vllm", "tgi"), Wire(low=-2.0, high=2.0)),
        group="penalties",
    )
    penalty_scope: str = declare(
        str,
        "context",
        "Whether presence and frequency count the prompt too, or only what was generated (OpenAI's meaning).",
        options=("context", "generated"),
        wire=everywhere(OUTPUT_ONLY, Wire(default="generated")),
        group="variants",
    )
    repetition_slope_rule: str = declare(
        str,
        "koboldcpp",
        "What repetition_penalty_slope means: two halves of the window (koboldcpp) or a smooth ramp over its range (koboldai).",
        options=("koboldcpp", "koboldai"),
        group="variants",
    )
    repetition_decay_rule: str = declare(
        str,
        "exllamav3",
        "How penalties fade: from logits with them to logits without (exllamav3), or by smaller penalties (exllamav2).",
        options=("exllamav3", "exllamav2"),
        group="variants",
    )
    encoder_repetition_penalty: float = declare(
        float,
        1.0,
        "The opposite of repetition_penalty for the prompt's tokens: above 1 keeps close to what the prompt says.",
        low=0.01,
        high=100.0,
        group="penalties",
    )
    no_repeat_ngram_size: int = declare(
        int, 0, "No run of this many tokens comes twice; 0 is off.", low=0, high=2**31 - 1, group="penalties"
    )
    encoder_no_repeat_ngram_size: int = declare(
        int, 0, "No run of this many tokens of the prompt comes again; 0 is off.", low=0, high=2**31 - 1, group="penalties"
    )
    dry_multiplier: float = declare(
        float,
        0.0,
        "DRY (don't repeat yourself): how strongly to penalise a token that would go on with a repetition; 0.8 is usual.",
        low=0.0,
        high=100.0,
        group="penalties",
    )
    dry_base: float = declare(
        float,
        1.75,
        "By how much DRY's penalty grows with each token that the repetition is longer.",
        low=1.0,
        high=100.0,
        group="penalties",
    )
    dry_allowed_length: int = declare(
        int, 2, "Repetitions shorter than this cost nothing.", low=0, high=2**31 - 1, group="penalties"
    )
    dry_range: int = declare(
        int,
        0,
        "How many of the last tokens DRY looks at; 0 is all of them.",
        low=0,
        high=2**31 - 1,
        aliases=("dry_penalty_last_n",),
        wire={
            "kobold": Wire(names=("dry_penalty_last_n",), default=320, off=(-1,)),
            "llamacpp": Wire(names=("dry_penalty_last_n",), default=64, off=(-1,)),
            "ollama": Wire(names=("dry_penalty_last_n",), off=(-1,)),
            "tabby": Wire(off=(-1,)),
        },
        group="penalties",
    )
    dry_sequence_breakers: tuple[str, ...] = declare(
        tuple,
        DEFAULT_BREAKERS,
        "Texts across which DRY sees no repetition.",
        read=read_texts,
        wire=everywhere(("kobold", "tabby"), Wire(default=())),
        group="penalties",
    )
    dry_max_match: int = declare(
        int,
        0,
        "DRY counts a repetition as no longer than this; 0 is as long as it is.",
        low=0,
        high=2**31 - 1,
        wire={**everywhere(OOBA, Wire(default=50)), "tabby": Wire(default=2048)},
        group="variants",
    )
    dry_rule: str = declare(
        str,
        "llamacpp",
        "KoboldCpp's DRY does nothing when exactly the allowed length follows a breaker, and may penalise breakers.",
        options=("llamacpp", "koboldcpp"),
        wire={"kobold": Wire(default="koboldcpp")},
        group="variants",
    )
