"""Tools with the real default model, which was never taught to call any: a demanded call is one all the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import jsonschema_rs

from publican.core.events import ChoiceFinished, Delta, Event, Finished, FinishReason, ToolCallDelta
from publican.core.request import ChatPrompt, Message, Request, Stopping, Tool, Wanted
from publican.core.sampling import SamplingParams
from publican.host.host import ModelHost
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from publican.host.worker_process import WorkerPort
from tests.host.answers.asked import Read

WEATHER = Tool(
    "get_weather",
    "Tells the weather in a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 40},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["city", "unit"],
    },
)
ROLL = Tool(
    "roll",
    "Rolls a die.",
    {"type": "object", "properties": {"sides": {"type": "integer", "minimum": 2}}, "required": ["sides"]},
)
TOOLS = {tool.name: tool for tool in (WEATHER, ROLL)}
GREEDY = SamplingParams(temperature=0.0)


@asynccontextmanager
async def hosting(model: Path) -> AsyncIterator[ModelHost]:
    host = ModelHost(ModelLibrary(model.parent, LoadOptions(context_len=1024), WorkerPort, 16))
    await host.load(model.stem, {})
    try:
        yield host
    finally:
        await host.unload()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 120))


def asking(question: str, sampling: SamplingParams = GREEDY, num_choices: int = 1, max_tokens: int = 200, **rest) -> Request:
    prompt = ChatPrompt((Message("user", question),), **({"tools": (WEATHER, ROLL), "tool_choice": "required"} | rest))
    return Request(prompt, sampling, Stopping(max_tokens=max_tokens), Wanted(num_choices, split_reasoning=True))


async def answers(host: ModelHost, request: Request) -> tuple[dict[int, Read], dict[int, FinishReason], list[Event]]:
    events = [event async for event in await host.generate(request)]
    assert isinstance(events[-1], Finished)
    found: dict[int, Read] = {}
    for event in events:
        if isinstance(event, ToolCallDelta) or (isinstance(event, Delta) and (event.text or event.reasoning)):
            found.setdefault(event.index, Read()).add(event)
    return found, {event.index: event.reason for event in events if isinstance(event, ChoiceFinished)}, events


def check(read: Read, most: int = 16) -> None:
    assert read.text == read.reasoning == ""
    assert 1 <= len(read.calls) <= most
    for name, arguments, _ in read.calls.values():
        jsonschema_rs.validate(TOOLS[name].parameters, json.loads(arguments))


def test_a_demanded_call(default_model: Path) -> None:
    async def main() -> None:
        async with hosting(default_model) as host:
            found, reasons, events = await answers(host, asking("What is the weather in Paris?", parallel_calls=False))
            check(found[0], most=1)
            assert reasons == {0: FinishReason.TOOL_CALLS}
            assert found[0].calls[0][0] == "get_weather"
            pieces = [event for event in events if isinstance(event, ToolCallDelta)]
            assert len(pieces) > 5, "the arguments are streamed"
            assert "".join(piece.arguments for piece in pieces) == found[0].calls[0][1]

            named, reasons, _ = await answers(host, asking("What is the weather in Paris?", tool_choice=ROLL))
            check(named[0], most=1)
            assert [call[0] for call in named[0].calls.values()] == ["roll"]
            assert reasons == {0: FinishReason.TOOL_CALLS}

            hot = SamplingParams(temperature=1.5, seed=7)
            several, reasons, _ = await answers(host, asking("Roll a die, then tell me the weather.", hot, 4, max_tokens=600))
            assert set(several) == set(reasons) == {0, 1, 2, 3}
            for index, read in several.items():
                if reasons[index] is FinishReason.TOOL_CALLS:
                    check(read)
            assert FinishReason.TOOL_CALLS in reasons.values()
            assert len({str(read.plain) for read in several.values()}) > 1

    run(main())


def test_what_is_cut_short_and_what_is_not_demanded(default_model: Path) -> None:
    async def main() -> None:
        async with hosting(default_model) as host:
            cut, reasons, events = await answers(host, asking("What is the weather in Paris?", max_tokens=12))
            assert reasons == {0: FinishReason.LENGTH}
            assert cut == {}, "too little to be a call is no text for a reader either"
            assert sum(len(event.tokens) for event in events if isinstance(event, Delta)) == 12

            question = asking("Say hello.", tool_choice="none", max_tokens=16)
            plain, _, _ = await answers(host, question)
            assert plain[0].text
            assert not plain[0].calls
            alone, _, _ = await answers(host, asking("Say hello.", tools=(), tool_choice="auto", max_tokens=16))
            assert alone[0].text == plain[0].text

    run(main())


SIGNS = {
    "hermes": "<tool_call>",
    "llama3": "<|python_tag|>",
    "mistral": "[ARGS]",
    "pythonic": "func_name1(",
    "qwen3-coder": "<parameter=",
}


def test_every_common_way_of_calling(default_model: Path) -> None:
    async def main() -> None:
        async with hosting(default_model) as host:
            for sign in SIGNS.values():
                template = "{% set sign = '" + sign + "' %}{{ tools | tojson }}\n{{ messages[0].content }}\n"
                question = asking("Roll a die with six sides.", template=template, tool_choice=ROLL)
                found, reasons, _ = await answers(host, question)
                check(found[0], most=1)
                assert reasons == {0: FinishReason.TOOL_CALLS}

    run(main())
