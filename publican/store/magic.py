"""What a file is by its first bytes, for files that are not what a reader was told they are."""

from __future__ import annotations

_PRE_GGUF = {b"lmgg": "GGML", b"fmgg": "GGMF", b"tjgg": "GGJT", b"algg": "GGLA (a LoRA adapter)"}


def describe_other_format(head: bytes) -> str:
    """A clause that ends a sentence beginning with the file's name: what it is instead, and what to do.

    Args:
        head: the file's first 16 bytes or more.
    """
    if head[:4] in _PRE_GGUF:
        return _describe_pre_gguf(head)
    if not head.strip(b"\0"):
        return "is empty or holds only zeros; download it again."
    if head[:4] == b"GGUF":
        return "is a GGUF file; name it *.gguf."
    if head[:4] in (b"PK\3\4", b"PK\5\6") or head[:1] == b"\x80":
        return "is a pickle or a zip archive of PyTorch, not GGUF or safetensors; get the model in one of those formats."
    if head.startswith(b"version https://git-lfs"):
        return "is only a Git LFS pointer, not the model; download the file itself."
    if head.lstrip()[:1] == b"<":
        return "is a web page, not a model; the download went wrong, so get it again."
    if head[8:9] == b"{":
        return "is a safetensors file; put it in a folder with its config.json."
    return "is not a GGUF model; download it again, or look for a *.gguf file."


def _describe_pre_gguf(head: bytes) -> str:
    name = _PRE_GGUF[head[:4]]
    version = int.from_bytes(head[4:8], "little")
    if head[:4] == b"tjgg" and version == 3:
        cure = "look for the same model as GGUF, or convert it with llama.cpp's convert_llama_ggml_to_gguf.py"
    else:
        cure = "look for the same model as GGUF"
    return f"is a {name} file from before August 2023, which nothing here can read; {cure}."
