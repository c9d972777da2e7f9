"""The plain twin of the pipeline: one row, float64, one obvious function after the other. Only tests use it.

row.py          what a row knows beside its logits
chain.py        the steps in order, and the draw
shapes.py       temperatures, skew, adaptive-p, guidance
cuts.py         truncation
lookback.py     penalties, DRY, n-grams
bans.py         biases and masks
"""
