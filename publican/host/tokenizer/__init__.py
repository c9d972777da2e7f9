"""Text to tokens and back, for every kind of vocabulary that publican can read.

`load_tokenizer` is what others call. The implementations follow `core.tokenizer.Tokenizer`; any thread may use them.
"""

from __future__ import annotations

from publican.core.ids import TokenId
from publican.core.model import Checkpoint
from publican.core.tokenizer import Tokenizer

_EMBEDDINGS = ("token_embd.weight", "model.embed_tokens.weight")


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer of the model on disk. Takes 0.1 s for a vocabulary of 50,000 tokens, a second or two for 260,000.

    Raises:
        ModelFileError: its data are missing or damaged.
        UnsupportedModel: a kind of tokenizer that is not here.
    """
    if checkpoint.format == "gguf":
        from publican.host.tokenizer.gguf import gguf_tokenizer

        return gguf_tokenizer(checkpoint.metadata, _num_rows(checkpoint))
    from publican.host.tokenizer.folder import folder_tokenizer

    return folder_tokenizer(checkpoint.path, _num_rows(checkpoint))


def text_end(tokenizer: Tokenizer) -> TokenId | None:
    """The token that a folder's tokenizer puts behind a whole text; None for none, and for GGUF, whose metadata say it."""
    end = getattr(tokenizer, "text_end", None)
    return TokenId(end) if isinstance(end, int) else None


def _num_rows(checkpoint: Checkpoint) -> int:
    """How many tokens the model itself has; 0 if that is not known."""
    if checkpoint.spec is not None:
        return checkpoint.spec.vocab_size
    found = (checkpoint.tensors[name] for name in _EMBEDDINGS if name in checkpoint.tensors)
    return next((tensor.shape[0] for tensor in found if tensor.shape), 0)
