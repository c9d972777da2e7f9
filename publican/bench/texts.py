"""Prompts of plain English words, the same for the same seed on every machine. Nothing is downloaded.

The words are common ones, so that most are one token in any vocabulary; what a text really cost is in the server's usage.
"""

from __future__ import annotations

import random

_TOKENS_PER_SENTENCE = 12.5  # in SmolLM2's vocabulary, over texts of a few hundred tokens


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split("," if "," in text else None))


_OPENINGS = _list("""
    Autumn Bread Copper Dawn Every From Green Hidden Iron July King Lady Morning Night Old People Quiet River Summer Three
    Under Victory Winter Yellow Zero Above Black Cold Deep East Fire Gold Heavy Inside Just Knowing Long Many North Only
    Past Queen Red Silver Time Upon Very White Young After Between Church Dark Early Five Great High Into Keeping Little
    Most Never Over Perhaps Round Small Two Until West Years
""")
_NOUNS = _list("""
    road house river table letter window garden fire mountain door bridge song story ship field storm lamp stone market
    horse forest tower bell book child mother soldier doctor king friend stranger village harbour kitchen winter summer
""")
_ADJECTIVES = _list("old quiet small bright cold heavy dark gentle broken golden empty distant narrow strange warm wooden")
_VERBS = _list("found left watched carried followed opened remembered crossed built lost kept heard painted sold guarded")
_PLACES = _list("beside behind under near above before beyond across")
_TIMES = _list("in the morning, after the war, every winter, that night, for many years, without a word, at last, long ago")
_ASKS = _list("""
    What happened to the {a} {n}?, Tell me about the {n} and the {m}., Why is the {n} so {a}?, Who {v} the {n}?,
    Describe the {a} {n} to me., What should I do with the {n}?, Where did you last see the {m}?, How did the {n} become {a}?
""")


def opening(index: int) -> str:
    """A beginning that no other index below 2,500 has; the first few dozen differ in their first word."""
    first, second = _OPENINGS[index % len(_OPENINGS)], _NOUNS[index // len(_OPENINGS) % len(_NOUNS)]
    return f"{first} {second}"


def card(key: str, num_tokens: int, index: int = 0) -> str:
    """About `num_tokens` tokens of text that depend on `key` alone, but for their beginning, which depends on `index`."""
    dice = random.Random(f"card {key}")
    sentences = [f"{opening(index)} is where it begins."]
    sentences += [_sentence(dice) for _ in range(max(0, round(num_tokens / _TOKENS_PER_SENTENCE) - 1))]
    return " ".join(sentences)


def message(key: str) -> str:
    """A short question that depends on `key`."""
    dice = random.Random(f"message {key}")
    words = {"a": dice.choice(_ADJECTIVES), "v": dice.choice(_VERBS)}
    words["n"], words["m"] = dice.sample(_NOUNS, 2)
    return dice.choice(_ASKS).format(**words)


def _sentence(dice: random.Random) -> str:
    who, what, where = dice.sample(_NOUNS, 3)
    return (
        f"The {dice.choice(_ADJECTIVES)} {who} {dice.choice(_VERBS)} the {what} "
        f"{dice.choice(_PLACES)} the {where} {dice.choice(_TIMES)}."
    )
