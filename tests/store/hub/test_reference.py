"""What people type, and what is none of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import InvalidParameter
from publican.store.hub.reference import DefaultReference, HubReference, PathReference, Reference, UrlReference, parse_source

HUB = "https://huggingface.co"
REPO = HubReference("org/repo")


def nothing(path: Path) -> bool:
    return False


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("org/repo", REPO),
        (" org/repo ", REPO),
        ("org/repo:Q4_K_M", HubReference("org/repo", None, "Q4_K_M")),
        ("org/repo:gptq-4bit-32g-actorder_True", HubReference("org/repo", None, "gptq-4bit-32g-actorder_True")),
        ("org/repo@main", HubReference("org/repo", "main")),
        ("org/repo@refs/pr/7", HubReference("org/repo", "refs/pr/7")),
        ("org/repo@v1:Q4_0", HubReference("org/repo", "v1", "Q4_0")),
        ("hf:org/repo", REPO),
        ("hf://org/repo", REPO),
        ("hf.co/org/repo:Q4_K_M", HubReference("org/repo", None, "Q4_K_M")),
        ("https://huggingface.co/org/repo", REPO),
        ("https://huggingface.co/org/repo/", REPO),
        ("https://hf.co/org/repo?x=1", REPO),
        ("https://huggingface.co/org/repo/tree/main", HubReference("org/repo", "main")),
        ("https://huggingface.co/org/repo/tree/refs%2Fpr%2F7", HubReference("org/repo", "refs/pr/7")),
        ("https://huggingface.co/org/repo/blob/main/a/b.gguf", HubReference("org/repo", "main", None, "a/b.gguf")),
        (
            "https://huggingface.co/org/repo/resolve/v1/b%20c.gguf?download=true",
            HubReference("org/repo", "v1", None, "b c.gguf"),
        ),
        ("huggingface.co/org/repo/blob/main/b.gguf", HubReference("org/repo", "main", None, "b.gguf")),
        ("https://mirror.lan/hf/org/repo/tree/main", UrlReference("https://mirror.lan/hf/org/repo/tree/main")),
        ("https://example.com/a.gguf", UrlReference("https://example.com/a.gguf")),
        ("default", DefaultReference()),
        ("./x.gguf", PathReference(Path("x.gguf"))),
        ("/models/x", PathReference(Path("/models/x"))),
        ("~nobody-of-that-name/x", PathReference(Path("~nobody-of-that-name/x"))),
        ("C:\\models\\x.gguf", PathReference(Path("C:\\models\\x.gguf"))),
    ],
)
def test_sources(text: str, reference: Reference) -> None:
    assert parse_source(text, HUB, nothing) == reference


def test_a_mirror_is_the_hub() -> None:
    found = parse_source("https://mirror.lan/hf/org/repo/tree/main", "https://mirror.lan/hf", nothing)
    assert found == HubReference("org/repo", "main")


def test_what_is_here_wins_over_what_it_could_mean() -> None:
    assert parse_source("org/repo", HUB, lambda path: True) == PathReference(Path("org/repo"))
    assert parse_source("hf:org/repo", HUB, lambda path: True) == REPO


@pytest.mark.parametrize(
    "text",
    [
        "", "name", "org/repo/file", "org/../repo", "org/re po", "-/-", "org/", "/".join("abc"), "ftp://x/y",
        "https://huggingface.co/datasets/org/data", "https://huggingface.co/org", "https://huggingface.co/org/repo/discussions/1",
        "org/repo:", "org/repo@", "org/a--b", "https://", "https:///x", "org/repo\n", "org/r\0epo",
    ],
)  # fmt: skip
def test_what_is_no_source(text: str) -> None:
    if text == "org/repo\n":
        assert parse_source(text, HUB, nothing) == REPO, "blanks around it do not matter"
        return
    with pytest.raises(InvalidParameter, match=r"^source: "):
        parse_source(text, HUB, nothing)


@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z.]{1,12}/[ -~]{0,40}", fullmatch=True))
def test_any_text_means_something_or_is_refused(text: str) -> None:
    try:
        found = parse_source(text, HUB, nothing)
    except InvalidParameter:
        return
    if isinstance(found, HubReference):
        owner, name = found.repo.split("/")
        assert owner.isascii()
        assert name.isascii()
        assert ".." not in found.repo
