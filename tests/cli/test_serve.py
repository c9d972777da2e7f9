"""The main job, as a newcomer and their friends meet it: one command, a real model, real clients, all at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai
import pytest
import websockets

from tests.cli.running import Running, free_port, serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def server(default_model: Path, tmp_path_factory: pytest.TempPathFactory):
    with serving(tmp_path_factory.mktemp("serve"), str(default_model), "--ctx", "2048") as running:
        yield running


@pytest.fixture
def client(server: Running):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as it:
        yield it


def test_it_says_how_to_reach_it(server):
    for said in (f"http://127.0.0.1:{server.port}/v1", "SmolLM2-135M-Instruct", "2,048 tokens", "native", "curl "):
        assert said in server.output


def test_every_choice_is_printed_with_its_reason(server):
    lines = {line.split()[0]: line for line in server.output.splitlines() if line.strip()}
    assert "(asked for)  --ctx" in lines["context"]
    assert "4 at full length" in lines["room"]
    assert "bf16" in lines["cache"] or "f32" in lines["cache"]
    assert "the model's own" in lines["positions"]
    assert "planned" in lines["held"]


def test_the_printed_line_works(server):
    (line,) = [line for line in server.output.splitlines() if line.startswith("curl ")]
    answer = subprocess.run(line.replace("curl ", "curl -s ", 1), shell=True, capture_output=True, check=True).stdout
    assert len(json.loads(answer)["choices"][0]["message"]["content"]) > 10


def test_openai_answers_and_streams_the_same(client):
    whole = client.chat.completions.create(model="any", messages=FRANCE, temperature=0, max_tokens=30)
    assert len(whole.choices[0].message.content) > 10
    stream = client.chat.completions.create(
        model="any", messages=FRANCE, temperature=0, max_tokens=30, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_with_itself_as_its_draft_it_says_the_same(server, default_model, tmp_path):
    """Guesses of a draft that agrees come true, at every temperature; how many it makes depends on what pays here."""

    def said(by: Running) -> list[str]:
        asked = [("Once upon a time", 0.0), ("The sea is", 0.8)]
        bodies = [{"prompt": prompt, "max_tokens": 32, "temperature": at, "seed": 5} for prompt, at in asked]
        answers = [httpx.post(f"{by.url}/v1/completions", json=body, timeout=120).raise_for_status() for body in bodies]
        return [answer.json()["choices"][0]["text"] for answer in answers]

    with serving(tmp_path, str(default_model), "--ctx", "512", "--users", "2", "-md", str(default_model)) as drafted:
        assert said(drafted) == said(server)
        assert "--draft-model" in drafted.output
        lines = httpx.get(f"{drafted.url}/metrics", timeout=30).text.splitlines()
    counts = {name: float(value) for name, value in (line.split() for line in lines if line.startswith("publican_tokens_gue"))}
    assert counts["publican_tokens_guessed_true_total"] == counts["publican_tokens_guessed_total"] > 0


def test_everyone_at_once_gets_the_answer_they_would_get_alone(server):
    """Clients of both dialects, streaming and not, side by side."""

    async def main() -> None:
        prompts = [f"Here is a list of {i} things that are" for i in range(2, 8)]
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:

            async def complete(prompt: str) -> str:
                answer = await client.completions.create(model="m", prompt=prompt, temperature=0, max_tokens=24)
                return answer.choices[0].text

            async def stream(prompt: str) -> str:
                answer = await client.completions.create(model="m", prompt=prompt, temperature=0, max_tokens=24, stream=True)
                return "".join([c.choices[0].text async for c in answer])

            async def socket_stream(prompt: str) -> str:
                uri = f"ws://127.0.0.1:{server.stream_port}/api/v1/stream"
                async with websockets.connect(uri) as ws:
                    body = {"prompt": prompt, "max_new_tokens": 24, "do_sample": False, "repetition_penalty": 1.0}
                    await ws.send(json.dumps(body))
                    text = ""
                    async for frame in ws:
                        event = json.loads(frame)
                        if event["event"] == "stream_end":
                            return text
                        text += event["text"]
                raise AssertionError("no end")

            alone = [await complete(p) for p in prompts]
            ways = [complete, stream, socket_stream]
            together = await asyncio.gather(*(way(p) for way in ways for p in prompts))
            assert together == alone * 3

    asyncio.run(main())


def test_n_logprobs_seed_stop_and_echo(client):
    answer = client.completions.create(
        model="m", prompt="The best colour is", n=3, seed=5, temperature=1.2, max_tokens=12, logprobs=2, echo=True
    )
    again = client.completions.create(
        model="m", prompt="The best colour is", n=3, seed=5, temperature=1.2, max_tokens=12, logprobs=2, echo=True
    )
    assert [c.text for c in answer.choices] == [c.text for c in again.choices]
    assert all(c.text.startswith("The best colour is") for c in answer.choices)
    assert len({c.text for c in answer.choices}) > 1
    assert all(len(top) >= 2 for top in answer.choices[0].logprobs.top_logprobs[1:])
    stopped = client.completions.create(model="m", prompt="1, 2, 3, 4,", temperature=0, stop=["7"], max_tokens=30)
    assert "6" in stopped.choices[0].text
    assert "7" not in stopped.choices[0].text
    assert stopped.choices[0].finish_reason == "stop"


def test_a_prompt_over_the_context_is_refused_with_the_counts(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="m", prompt="word " * 3_000)
    assert "2,048" in str(refused.value)
    assert "3,00" in str(refused.value)


def num_requests(server: Running) -> int:
    """How many the server computes, or has waiting."""
    counts = dict(line.split() for line in httpx.get(f"{server.url}/metrics").text.splitlines() if "# " not in line)
    return int(float(counts["publican_requests_running"]) + float(counts["publican_requests_waiting"]))


def test_a_client_that_hangs_up_in_mid_prefill_costs_nothing(server):
    for i in range(5):
        body = json.dumps({"prompt": f"tell me of {i} " + "many, many " * 400, "max_tokens": 1_000}).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            raw.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            wait_for(lambda: num_requests(server) == 1)
        wait_for(lambda: num_requests(server) == 0)


def wait_for(condition, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def test_200_connections_at_once(server):
    async def main() -> list[int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as http:

            async def one(i: int) -> int:
                body = {"prompt": f"{i} is", "max_tokens": 4, "temperature": 0}
                return (await http.post("/v1/completions", json=body)).status_code

            return await asyncio.gather(*(one(i) for i in range(200)))

    assert asyncio.run(main()) == [200] * 200


def test_metrics_and_health(server):
    metrics = httpx.get(f"{server.url}/metrics").text
    for name in ("requests_running", "requests_waiting", "kv_cache_used_ratio", "prefix_hit_ratio", "time_to_first_token"):
        assert f"publican_{name}" in metrics
    assert httpx.get(f"{server.url}/health").json()["status"] == "ok"


def test_a_killed_worker_is_an_error_for_those_who_ask_and_comes_back(default_model: Path, tmp_path: Path):
    with serving(tmp_path, str(default_model), "--ctx", "1024") as server:
        (worker,) = server.worker_pids()
        with httpx.Client(base_url=server.url, timeout=60) as http:
            body = {"prompt": "Once upon a time", "max_tokens": 900, "stream": True, "temperature": 0}
            with http.stream("POST", "/v1/completions", json=body) as stream:
                lines = stream.iter_lines()
                next(lines)
                os.kill(worker, signal.SIGKILL)
                rest = "\n".join(lines)
            assert "error" in rest
            assert "restarted" in rest
            again = http.post("/v1/completions", json={"prompt": "Once upon a time", "max_tokens": 5, "temperature": 0})
            assert again.status_code == 200
        assert "Traceback" not in server.output


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_end_is_quick_and_clean_and_everybody_is_told(tmp_path: Path, how: signal.Signals):
    """A stream that runs, a client that has said half of what it wants, and one that says nothing."""
    with serving(tmp_path, "--loader", "fake", "--model", "fake-slow") as server:
        (worker,) = server.worker_pids()
        half = socket.create_connection(("127.0.0.1", server.port))
        half.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        silent = socket.create_connection(("127.0.0.1", server.stream_port))
        body = {"prompt": "Once", "max_tokens": 1_500, "stream": True}
        with half, silent, httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=30) as stream:
            lines = stream.iter_lines()
            next(lines)
            server.process.send_signal(how)
            assert "unloaded" in "\n".join(lines)
        assert server.process.wait(15) == 0
        assert "Traceback" not in server.output
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_listening_to_friends_needs_a_key(tmp_path: Path):
    with serving(tmp_path, "--loader", "fake", "--listen") as server:
        assert httpx.get(f"{server.url}/v1/models").status_code == 401
        (key,) = [line.split()[-1] for line in server.output.splitlines() if line.strip().startswith("key ")]
        answer = httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200
        assert httpx.get(f"{server.url}/v1/models", headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_a_key_that_is_set_is_wanted_on_loopback_too(tmp_path: Path):
    with serving(tmp_path, "--loader", "fake", env={"PUBLICAN_API_KEY": "sesame"}) as server:
        assert httpx.get(f"{server.url}/v1/models").status_code == 401
        assert httpx.get(f"{server.url}/v1/models", headers={"Authorization": "Bearer sesame"}).status_code == 200
        assert "sesame" not in server.output, "a secret is not for terminals and the logs of services"
        (line,) = [line for line in server.output.splitlines() if line.startswith("curl ")]
        environment = os.environ | {"PUBLICAN_API_KEY": "sesame"}
        done = subprocess.run(
            line.replace("curl ", "curl -s ", 1), shell=True, capture_output=True, check=True, env=environment
        )
        assert "choices" in json.loads(done.stdout)


def refusal(tmp_path: Path, *args: str) -> str:
    """What `publican serve` says when it will not. On ports that nobody has: whoever works here may have a server running."""
    done = subprocess.run(
        [sys.executable, "-m", "publican", "serve", *args],
        env=os.environ | {"PUBLICAN_PORT": str(free_port()), "PUBLICAN_STREAM_PORT": "0"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_in_use_is_one_sentence(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refusal(tmp_path, "--loader", "fake", "--port", str(port))
        assert f"Port {port} is in use" in said
        said = refusal(tmp_path, "--loader", "fake", "--stream-port", str(port), "--port", str(free_port()))
        assert f"Port {port} is in use" in said
        assert "--stream-port" in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["no-such-model"], "not here"),
        (["org/no-such-model"], "publican pull org/no-such-model"),
        (["--prot", "1"], "--port"),
        (["--users", "0"], "users"),
        (["--host", "256.1.1.1"], "not an address"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, args: list[str], says: str):
    assert says in refusal(tmp_path, *args, "--models-dir", str(tmp_path / "none"))


def test_a_file_that_is_no_model_is_said(tmp_path: Path, default_model: Path):
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"GGUF" + os.urandom(1_000))
    assert "garbage.gguf" in refusal(tmp_path, str(garbage))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(default_model.read_bytes()[: 40 << 20])
    assert "cut.gguf" in refusal(tmp_path, str(cut))
