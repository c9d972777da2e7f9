"""One of every sampler, by the steps they run."""

from __future__ import annotations

from publican.engine.sampling.adaptive_p import AdaptiveP
from publican.engine.sampling.batch import Sampler
from publican.engine.sampling.bias import Bias
from publican.engine.sampling.dry import Dry
from publican.engine.sampling.dynamic_temperature import DynamicTemperature
from publican.engine.sampling.encoder_repetition import EncoderRepetition
from publican.engine.sampling.epsilon_cutoff import EpsilonCutoff
from publican.engine.sampling.eta_cutoff import EtaCutoff
from publican.engine.sampling.min_p import AdaptiveFloor, MinP
from publican.engine.sampling.mirostat import Mirostat
from publican.engine.sampling.ngram import NoRepeatNgram
from publican.engine.sampling.p_less import PLess
from publican.engine.sampling.penalties import Penalties
from publican.engine.sampling.quadratic import Quadratic
from publican.engine.sampling.skew import Skew
from publican.engine.sampling.temperature import Temperature
from publican.engine.sampling.tfs import Tfs
from publican.engine.sampling.top_a import TopA
from publican.engine.sampling.top_h import TopH
from publican.engine.sampling.top_k import TopK
from publican.engine.sampling.top_n_sigma import TopNSigma
from publican.engine.sampling.top_p import TopP
from publican.engine.sampling.typical_p import TypicalP
from publican.engine.sampling.xtc import Xtc

_KINDS: tuple[type[Sampler], ...] = (
    Bias,
    Penalties,
    Dry,
    NoRepeatNgram,
    EncoderRepetition,
    Temperature,
    DynamicTemperature,
    Quadratic,
    TopNSigma,
    TopK,
    TopP,
    MinP,
    TypicalP,
    Tfs,
    TopA,
    EpsilonCutoff,
    EtaCutoff,
    TopH,
    PLess,
    Xtc,
    Skew,
    AdaptiveFloor,
    AdaptiveP,
    Mirostat,
)


def make_samplers() -> dict[str, Sampler]:
    """A sampler for every step there is; some run several."""
    return {step: sampler for sampler in (kind() for kind in _KINDS) for step in sampler.steps}
