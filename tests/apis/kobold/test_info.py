"""What Kobold's clients are told that the server can do."""

from __future__ import annotations

import pytest

from publican.apis.kobold.info import version
from publican.core.backend import ModelCard


@pytest.mark.parametrize(
    ("card", "writes", "embeds"),
    [
        (ModelCard("both", 8, True, embeds=True), True, True),
        (ModelCard("words", 8, True), True, False),
        (ModelCard("vectors", 8, True, writes=False, embeds=True), False, True),
        (None, False, False),
    ],
)
def test_it_can_what_its_model_can(card: ModelCard | None, writes: bool, embeds: bool) -> None:
    said = version(False, card)
    assert (said["llm"], said["guidance"], said["embeddings"]) == (writes, writes, embeds)
    assert said["result"] == "KoboldCpp"
