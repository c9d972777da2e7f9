"""How the next token is chosen, as data: every parameter, the orders of the peers, and the way in from each dialect."""

from publican.core.sampling.params import MAX_SEED, SAMPLING_PARAMETERS, SamplingParams

__all__ = ["MAX_SEED", "SAMPLING_PARAMETERS", "SamplingParams"]
