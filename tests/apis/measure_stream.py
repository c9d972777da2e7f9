"""Measures the CPU time that the HTTP front spends per streamed token: `python -m tests.apis.measure_stream`. Not a test.

A process serves the real app under uvicorn; its host gives every stream one token per step, as an engine does. Another
process reads. What the host alone costs is measured the same way without HTTP and taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing as mp
import os
import socket
import time
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from typing import Any

import uvicorn
import uvloop

from publican.apis.app import create_app
from publican.apis.config import ApiConfig
from publican.apis.serving import uvicorn_config
from publican.core.events import ChoiceFinished, Delta, Finished, FinishReason, Started, TokenOutput, Usage
from publican.core.request import Request, TextPrompt
from publican.host.streams import RequestStream
from tests.apis.fake_host import ScriptedHost, token
from tests.apis.running import open_door


class SteppingHost(ScriptedHost):
    """All streams get a token each step, in one callback of the event loop."""

    def __init__(self, num_tokens: int, step_s: float) -> None:
        super().__init__()
        self._num_tokens, self._step_s = num_tokens, step_s
        self._running: list[tuple[RequestStream, int, TokenOutput]] = []
        self._stepping = False

    async def generate(self, request: Request) -> RequestStream:  # type: ignore[override]
        stream = RequestStream(request.id, "", "", lambda id: None)
        one = token(7, " token", -0.5, request.wanted.logprobs)
        stream.put(Started(5))
        self._running.append((stream, 0, one))
        if not self._stepping:
            self._stepping = True
            asyncio.get_running_loop().call_later(self._step_s, self._step)
        return stream

    def _step(self) -> None:
        asyncio.get_running_loop().call_later(self._step_s, self._step)
        going = []
        for stream, num, one in self._running:
            stream.put(Delta(0, " token", (one,)))
            if num + 1 < self._num_tokens:
                going.append((stream, num + 1, one))
            else:
                stream.put(ChoiceFinished(0, FinishReason.LENGTH))
                stream.put(Finished(Usage(5, self._num_tokens)))
        self._running = going


def run(loop: str, main: Coroutine[Any, Any, Any]) -> Any:
    return uvloop.run(main) if loop == "uvloop" else asyncio.run(main)


def serve(pipe: Connection, num_tokens: int, step_s: float, loop: str) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    host = SteppingHost(num_tokens, step_s)
    server = uvicorn.Server(uvicorn_config(create_app(host, ApiConfig(), open_door), http="httptools"))
    pipe.send(sock.getsockname()[1])

    async def answer() -> None:
        task = asyncio.create_task(server.serve(sockets=[sock]))
        while not task.done():
            if pipe.poll():
                pipe.recv()
                pipe.send(time.process_time())
            await asyncio.sleep(0.05)

    run(loop, answer())


def read(port: int, body: dict[str, object]) -> tuple[int, int]:
    """One stream, read raw; returns (events, bytes)."""
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n"
        sock.sendall(head.encode() + data)
        seen = bytearray()
        while chunk := sock.recv(65536):
            seen += chunk
    assert b"[DONE]" in seen
    return seen.count(b"data: {"), len(seen)


def read_all(port: int, num_streams: int, body: dict[str, object], pipe: Connection) -> None:
    import threading

    results: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: results.append(read(port, body))) for _ in range(num_streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send((sum(n for n, _ in results), sum(b for _, b in results)))


async def host_alone(num_streams: int, num_tokens: int, step_s: float) -> float:
    """CPU seconds per token of making and reading the events, without any HTTP."""
    host = SteppingHost(num_tokens, step_s)

    async def drain() -> None:
        async for _ in await host.generate(Request(TextPrompt("hi"))):
            pass

    began = time.process_time()
    await asyncio.gather(*(drain() for _ in range(num_streams)))
    return (time.process_time() - began) / (num_streams * num_tokens)


def measure(num_streams: int, num_tokens: int, step_s: float, body: dict[str, object], loop: str) -> None:
    ours, theirs = mp.Pipe()
    server = mp.Process(target=serve, args=(theirs, num_tokens, step_s, loop), daemon=True)
    server.start()
    port = ours.recv()
    time.sleep(0.5)
    reader, writer = mp.Pipe()
    for _ in ("warm", "timed"):
        ours.send("cpu")
        before, began = ours.recv(), time.monotonic()
        client = mp.Process(target=read_all, args=(port, num_streams, body, writer))
        client.start()
        num_events, num_bytes = reader.recv()
        client.join()
        ours.send("cpu")
        cpu_s, wall_s = ours.recv() - before, time.monotonic() - began
    total = num_streams * num_tokens
    alone = run(loop, host_alone(num_streams, num_tokens, step_s))
    each = cpu_s / total
    print(f"{num_streams} streams x {num_tokens} tokens at {total / wall_s:.0f} tokens/s")
    print(f"  {num_events} events, {num_bytes / total:.0f} bytes per token")
    print(f"  server {each * 1e6:.1f} us/token, host alone {alone * 1e6:.1f}, HTTP part {(each - alone) * 1e6:.1f} us/token")
    server.terminate()
    server.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=120.0, help="steps per second")
    parser.add_argument("--logprobs", type=int)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    args = parser.parse_args()
    mp.set_start_method("spawn")
    print(f"pid {os.getpid()}, load {os.getloadavg()[0]:.1f}")
    body: dict[str, object] = {"prompt": "hi", "stream": True, "max_tokens": args.tokens}
    if args.logprobs is not None:
        body["logprobs"] = args.logprobs
    measure(args.streams, args.tokens, 1 / args.rate, body, args.loop)
