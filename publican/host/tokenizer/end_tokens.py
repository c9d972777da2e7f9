"""Which tokens end an answer. Files name one or two of them and know more, so the well-known names count as well.

The set is llama.cpp's: what it calls end of generation (EOG).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from publican.core.ids import TokenId
from publican.host.tokenizer.token_table import TokenKind, TokenTable, token_id

END_TEXTS = frozenset(
    [
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>"),
        *("</s>", "<eos>", "[EOS]", "<EOT>", "_<EOT>", "[EOT]", "<end_of_turn>", "<end_of_utterance>"),
        *("<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[", "<|return|>", "<|call|>", "<|calls|>", "<|flush|>"),
    ]
)
"""Tokens that end an answer in whatever vocabulary they are."""

_FILL_IN = {  # what completes code in the middle of a file; the last three end an answer too
    "fim_pre": "<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|prefix|>",
    "fim_suf": "<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|suffix|>",
    "fim_mid": "<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> <|middle|>",
    "fim_pad": "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]",
    "fim_rep": "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>",
    "fim_sep": "<|file_sep|>",
}
_FILL_IN_ENDS = ("fim_pad", "fim_rep", "fim_sep")
_OLD_KEYS = {"fim_pre": "prefix", "fim_suf": "suffix", "fim_mid": "middle"}
_SHOWN = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
"""Marks between the parts of an answer (gpt-oss), which whoever parses the answer must see."""


def find_ends(table: TokenTable, metadata: Mapping[str, Any], eos: TokenId | None) -> tuple[TokenTable, frozenset[TokenId]]:
    """The tokens that end an answer, and the table with the kinds that follow from it: all of them are control tokens."""
    ends = {table.ids[name] for name in END_TEXTS if name in table.ids}
    changed = dict.fromkeys(ends, TokenKind.CONTROL)
    for name, texts in _FILL_IN.items():
        token = token_id(metadata, name, table)
        if token is None and name in _OLD_KEYS:
            token = token_id(metadata, _OLD_KEYS[name], table)
        if token is None and (token := table.first_of(texts.split())) is not None:
            changed[token] = TokenKind.CONTROL
        if token is not None and name in _FILL_IN_ENDS:
            ends.add(token)
    changed |= {table.ids[name]: TokenKind.USER_DEFINED for name in _SHOWN if name in table.ids}
    ends |= {token for token in (eos, token_id(metadata, "eot", table), token_id(metadata, "eom", table)) if token is not None}
    lookalikes = lookalike_ends(table.ids, ends)
    return table.with_kinds(changed | lookalikes), frozenset(ends - lookalikes.keys())


def fill_in_ends(ids: Mapping[str, TokenId]) -> set[TokenId]:
    """What ends the filling of a hole in a vocabulary that has the marks for one, and no header to name them (folders)."""
    if not any(name in ids for name in _FILL_IN["fim_mid"].split()):
        return set()
    firsts = (next((ids[text] for text in _FILL_IN[name].split() if text in ids), None) for name in _FILL_IN_ENDS)
    return {token for token in firsts if token is not None}


def lookalike_ends(ids: Mapping[str, TokenId], ends: Collection[TokenId]) -> dict[TokenId, TokenKind]:
    """Those of `ends` that mean something else beside certain others, and what they are then."""
    names = {name for name in (*END_TEXTS, "<|plamo:eos|>") if ids.get(name) in ends}
    found = {}
    if names >= {"<|end|>", "<|return|>", "<|call|>"} or (
        names >= {"<|end|>", "<|flush|>"} and names & {"<|call|>", "<|calls|>"}
    ):
        found[ids["<|end|>"]] = TokenKind.USER_DEFINED  # ends a part of the answer
    if "</s>" in names and names & {"<|tool_response>", "<|plamo:eos|>"}:
        found[ids["</s>"]] = TokenKind.NORMAL  # ends struck-out text
    return found
