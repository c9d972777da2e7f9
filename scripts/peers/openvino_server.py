#!/usr/bin/env python3
"""OpenVINO GenAI behind `/v1/completions`, so that `publican bench serve` can load it: it has no server of its own.

    pip install openvino-genai        (in an environment of its own)
    python scripts/peers/openvino_server.py MODEL.gguf --port 8082

One thread steps its continuous batching; a thread per connection streams. As thin as can be, in OpenVINO's favour: the
requests' text is written as it comes, without checks. Only what the bench sends is understood.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import openvino_genai as genai

POLL_S = 0.0005


class Engine:
    """Steps the pipeline for as long as there is anything to do."""

    def __init__(self, path: str, cache_gb: int) -> None:
        config = genai.SchedulerConfig()
        config.cache_size = cache_gb
        config.enable_prefix_caching = True
        config.dynamic_split_fuse = True
        self._pipeline = genai.ContinuousBatchingPipeline(path, config, "CPU")
        self.tokenizer = self._pipeline.get_tokenizer()
        self._numbers = count()
        self._lock = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._pipeline.has_non_finished_requests():
                    self._lock.wait()
            self._pipeline.step()

    def add(self, prompt: str, config: genai.GenerationConfig) -> Any:
        with self._lock:
            handle = self._pipeline.add_request(next(self._numbers), prompt, config)
            self._lock.notify()
        return handle


def generation_config(body: dict[str, Any]) -> genai.GenerationConfig:
    config = genai.GenerationConfig()
    config.max_new_tokens = int(body.get("max_tokens") or 16)
    config.ignore_eos = bool(body.get("ignore_eos"))
    config.temperature = float(body.get("temperature") or 1.0)
    config.do_sample = bool(body.get("temperature"))
    config.apply_chat_template = False
    return config


def handler_of(engine: Engine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._json({"object": "list", "data": [{"id": "openvino", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            num_prompt = engine.tokenizer.encode(body["prompt"]).input_ids.shape[1]
            handle = engine.add(body["prompt"], generation_config(body))
            ids: list[int] = []
            said = ""
            if body.get("stream"):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
            while True:
                ended = handle.get_status() != genai.GenerationStatus.RUNNING
                while handle.can_read():
                    for output in handle.read().values():
                        ids.extend(output.generated_ids)
                    text = engine.tokenizer.decode(ids)
                    if body.get("stream") and len(text) > len(said) and not text.endswith("\ufffd"):
                        self._event({"choices": [{"index": 0, "text": text[len(said) :], "finish_reason": None}]})
                        said = text
                if ended:
                    break
                time.sleep(POLL_S)
            usage = {"prompt_tokens": num_prompt, "completion_tokens": len(ids), "total_tokens": num_prompt + len(ids)}
            end = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}], "usage": usage}
            if body.get("stream"):
                self._event(end)
                self._chunk(b"data: [DONE]\n\n")
                self._chunk(b"")
            else:
                end["choices"][0]["text"] = engine.tokenizer.decode(ids)
                self._json(end)

        def _event(self, event: dict[str, Any]) -> None:
            self._chunk(b"data: " + json.dumps({"object": "text_completion", "model": "openvino"} | event).encode() + b"\n\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def _json(self, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--cache-gb", type=int, default=1)
    options = parser.parse_args()
    engine = Engine(options.model, options.cache_gb)
    print(f"ready on {options.port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", options.port), handler_of(engine)).serve_forever()


if __name__ == "__main__":
    main()
