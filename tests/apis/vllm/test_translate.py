"""vLLM's own routes: which body is whose, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.vllm import translate
from publican.apis.vllm.schema import GenerateBody
from publican.core.errors import InvalidParameter, InvalidRequest
from publican.core.request import Caller, ChatPrompt, TextPrompt
from publican.core.sampling.wire import sampling_names

ASKING = Asking(Caller())


def test_tokenize_takes_a_text_or_a_chat() -> None:
    assert translate.tokenize({"prompt": "x", "add_special_tokens": False}).prompt == TextPrompt("x", add_bos=False)
    chat = translate.tokenize({"messages": [{"role": "user", "content": "x"}], "add_generation_prompt": False})
    assert isinstance(chat.prompt, ChatPrompt)
    assert chat.prompt.variables == {"add_generation_prompt": False}
    with pytest.raises(InvalidParameter, match="prompt"):
        translate.tokenize({})


def test_its_first_server_s_beams() -> None:
    request, streams = translate.generate({"prompt": "x", "use_beam_search": True, "best_of": 3, "n": 2}, ASKING)
    assert (request.sampling.num_beams, request.wanted.num_choices, streams) == (3, 2, False)


@given(
    st.dictionaries(
        st.sampled_from(sorted({*GenerateBody.model_fields, *sampling_names("vllm")})),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
        max_size=4,
    )
)
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(body: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        translate.generate({"prompt": "x", **body}, ASKING)
