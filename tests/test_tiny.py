"""The whole ring in small: HTTP, a host without a gateway, the engine, the fake executor, and SSE back. Under two seconds."""

from __future__ import annotations

import asyncio
import json

import httpx

from publican.apis.app import create_app
from publican.apis.config import ApiConfig
from publican.gateway.keys import OpenDoor
from publican.host.fake import FakeLibrary
from publican.host.host import ModelHost

HELLO = {"model": "fake-slow", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, "temperature": 0}


def test_a_question_goes_all_the_way_in_and_its_answer_all_the_way_out() -> None:
    asyncio.run(asyncio.wait_for(_ring(), 20))


async def _ring() -> None:
    host = ModelHost(FakeLibrary())
    await host.load("fake-slow", {})
    app = create_app(host, ApiConfig(), OpenDoor().authenticate)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:5000") as client:
            whole = (await client.post("/v1/chat/completions", json=HELLO)).json()
            stream = await client.post(
                "/v1/chat/completions", json=HELLO | {"stream": True, "stream_options": {"include_usage": True}}
            )
            crowd = await asyncio.gather(*(client.post("/v1/chat/completions", json=HELLO) for _ in range(8)))
            metrics = (await client.get("/metrics")).text
            steps = (await client.get("/debug/trace")).json()["steps"]
    finally:
        await host.unload()

    answer = whole["choices"][0]
    assert answer["message"]["content"]
    assert answer["finish_reason"] in ("length", "stop")
    assert whole["usage"]["completion_tokens"] <= 5

    assert stream.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in stream.headers
    lines = [line.removeprefix("data: ") for line in stream.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    pieces = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert len([piece for piece in pieces if piece]) > 1, "a stream comes in pieces"
    assert "".join(pieces) == answer["message"]["content"]
    assert chunks[-1]["usage"] == whole["usage"] | {
        key: value for key, value in chunks[-1]["usage"].items() if key == "prompt_tokens_details"
    }, "only what was cached may differ"

    assert {r.json()["choices"][0]["message"]["content"] for r in crowd} == {answer["message"]["content"]}
    assert "publican_" in metrics
    assert max(step["num_rows"] for step in steps) == 8, "eight at once are one batch"
    assert all(step["execute_ms"] > 0 for step in steps)
