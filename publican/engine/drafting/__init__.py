"""Guesses at the next tokens, so that one step can confirm several (speculative decoding).

Exact by construction: every position is sampled as it would be without guesses, with the same random number, and a guess
only saves the step in which that token would have been computed. So speculation changes no answer, greedy or sampled.
"""
