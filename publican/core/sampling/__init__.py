"""How the next token is chosen, as data: every parameter, the orders of the peers, and the way in from each dialect."""

from publican.core.sampling.control import MAX_SEED
from publican.core.sampling.params import DECLARED, GREEDY_BELOW, SAMPLING_PARAMETERS, SamplingParams

__all__ = ["DECLARED", "GREEDY_BELOW", "MAX_SEED", "SAMPLING_PARAMETERS", "SamplingParams"]
