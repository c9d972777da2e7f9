"""The websockets of the 2023 API: each message of the client is a request, each of ours an event. Event loop only.

At most 24 updates per second, as then: what comes in between is joined. A connection stays open for the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from publican.apis.dialect import Auth, Say, SocketRoute
from publican.apis.feed import Feed
from publican.apis.fold import Fold
from publican.apis.ooba import translate
from publican.apis.ooba.errors import OOBA
from publican.apis.ooba.routes import fitted
from publican.apis.server import Call
from publican.core.request import Request

UPDATE_S = 1 / 24

Update = Callable[[str, str], dict[str, Any]]
"""Makes of the text since the last update, and of the text so far, the fields of one."""


async def stream(call: Call, say: Say) -> None:
    request = translate.generate(call.body, call.asking)
    await _run(call, say, request, lambda new, so_far: {"text": new})


async def chat_stream(call: Call, say: Say) -> None:
    asked = translate.chat(call.body, call.asking)
    if asked.unchanged is not None:
        await say({"event": "text_stream", "message_num": 0, "history": asked.unchanged})
        await say({"event": "stream_end", "message_num": 1})
        return
    request = await fitted(call, asked)
    await _run(call, say, request, lambda new, so_far: {"history": asked.histories.after(so_far)})


async def _run(call: Call, say: Say, request: Request, update: Update) -> None:
    """Run `request` and send what comes as updates. Raises what ended it, if that is not an end."""
    assert call.gone is not None
    now_s = asyncio.get_running_loop().time
    call.record.asks((request,), call.server.model_name(None))
    feed = Feed(call.gone, call.record.saw)
    fold = Fold()
    num_sent = num_chars = 0
    try:
        feed.open(call.host, [request])
        while not feed.ended:
            fold.add(await feed.take(call.server.config.ping_s))
            if fold.error is not None:
                raise fold.error
            so_far = "".join(choice.text for choice in fold.in_order())
            # an update without text opens the stream, and later keeps it alive while nothing comes
            await say({"event": "text_stream", "message_num": num_sent, **update(so_far[num_chars:], so_far)})
            num_sent, num_chars, sent_s = num_sent + 1, len(so_far), now_s()
            if not feed.ended:
                await asyncio.sleep(max(0.0, sent_s + UPDATE_S - now_s()))
        await say({"event": "stream_end", "message_num": num_sent})
    finally:
        await feed.close()


def sockets() -> list[SocketRoute]:
    return [
        SocketRoute("/api/v1/stream", OOBA, Auth.KEY, stream, "Goes on with a text, as it comes."),
        SocketRoute("/api/v1/chat-stream", OOBA, Auth.KEY, chat_stream, "Answers a chat, as it comes."),
    ]
