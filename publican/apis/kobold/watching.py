"""Answers that a second call asks about: what it has said so far, its end, its numbers. Event loop only.

A caller may name an answer with a `genkey`. One without a name can be asked about only while its caller has no other such
answer: friends who share this server without keys are one caller, and must not end or read each other's.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from publican.apis.kobold.translate import Asked
from publican.apis.live import Live, Said
from publican.apis.server import Call
from publican.core.backend import Status
from publican.core.events import FinishReason


class Watched:
    """`answer`, which can be asked about until it has ended, in whatever way."""

    def __init__(self, call: Call, asked: Asked, answer: ASGIApp) -> None:
        request = asked.request
        self._said = call.server.live.watch(call.caller.user, asked.genkey or request.id, request.id)
        call.record.watch(self._said.saw)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        finally:
            self._said.ended = True


def asked_about(call: Call, genkey: str) -> Said | None:
    """The answer that a caller means: by its name, or the only one, or else the last."""
    live, user = call.server.live, call.caller.user
    if genkey:
        return live.find(user, genkey)
    nameless = [said for said in live.of(user) if said.name == said.request]
    running = [said for said in nameless if not said.ended]
    if len(running) > 1:
        return None
    return running[0] if running else nameless[-1] if nameless else None


def performance(live: Live, user: str, status: Status) -> dict[str, Any]:
    """GET /api/extra/perf: the numbers of the last answer of `user`, and how busy the server is."""
    last = next((said for said in reversed(live.of(user)) if said.usage is not None), None)
    usage = last.usage if last else None
    prefill_s, decode_s = (usage.prefill_s, usage.decode_s) if usage else (0.0, 0.0)
    num_read = usage.num_prompt_tokens - usage.num_cached_tokens if usage else 0
    num_written = usage.num_completion_tokens if usage else 0
    return {
        "last_process": round(prefill_s, 4),
        "last_eval": round(decode_s, 4),
        "last_token_count": num_written,
        "last_input_count": usage.num_prompt_tokens if usage else 0,
        "last_process_time": round(prefill_s, 4),
        "last_eval_time": round(decode_s, 4),
        "last_process_speed": round(num_read / prefill_s, 2) if prefill_s else 0,
        "last_eval_speed": round(num_written / decode_s, 2) if decode_s else 0,
        "last_seed": -1,
        "last_draft_success": 0,
        "last_draft_failed": 0,
        "total_gens": live.num_begun,
        "stop_reason": _stop_reason(last),
        "total_img_gens": 0,
        "total_tts_gens": 0,
        "total_transcribe_gens": 0,
        "queue": status.num_waiting,
        "idle": int(status.num_running + status.num_waiting == 0),
        "hordeexitcounter": 0,
        "uptime": int(time.monotonic() - live.since_s),
        "idletime": int(time.monotonic() - live.last_s) if status.num_running == 0 else 0,
        "quiet": True,
    }


def _stop_reason(said: Said | None) -> int:
    """-1 nothing yet, 0 out of tokens, 1 the model's own end, 2 a stop string."""
    if said is None or said.finished is None:
        return -1
    if said.finished.reason is FinishReason.LENGTH:
        return 0
    return 2 if isinstance(said.finished.stopped_by, str) else 1
