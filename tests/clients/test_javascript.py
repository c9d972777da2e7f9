"""The clients of OpenAI, Anthropic and Ollama in JavaScript, which most pages and editors are built on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Running
from tests.clients.npm import node_package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PACKAGES = ("ollama@0.6.4", "openai@6.49.0", "@anthropic-ai/sdk@1.12.0")
FOLDER = Path.home() / ".cache" / "publican-tests" / "javascript"

SCRIPT = """
import OpenAI from 'openai';
import Anthropic from '@anthropic-ai/sdk';
import { Ollama } from 'ollama';

const url = process.argv[2];
const messages = [{ role: 'user', content: 'Say hello.' }];
const said = {};

async function openai() {
  const client = new OpenAI({ baseURL: url + '/v1', apiKey: 'any', maxRetries: 0 });
  const asked = { model: 'm', messages, temperature: 0, max_tokens: 10 };
  const whole = (await client.chat.completions.create(asked)).choices[0].message.content;
  let text = '';
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true }))
    text += chunk.choices[0]?.delta?.content ?? '';
  const refused = await client.completions.create({ model: 'm', prompt: 'x', top_p: 7 }).catch(error => error);
  return { whole, text, refused: [refused.status, refused.message] };
}

async function anthropic() {
  const client = new Anthropic({ baseURL: url, apiKey: 'any', maxRetries: 0 });
  const asked = { model: 'm', messages, max_tokens: 10, temperature: 0 };
  const whole = (await client.messages.create(asked)).content[0].text;
  const text = await client.messages.stream(asked).finalText();
  const refused = await client.messages.create({ ...asked, max_tokens: -1 }).catch(error => error);
  return { whole, text, refused: [refused.status, refused.message] };
}

async function ollama() {
  const client = new Ollama({ host: url });
  const asked = { model: 'm', messages, options: { temperature: 0, num_predict: 10 } };
  const whole = (await client.chat(asked)).message.content;
  let text = '';
  for await (const part of await client.chat({ ...asked, stream: true })) text += part.message.content;
  const refused = await client.show({ model: 'llama9' }).catch(error => error);
  const models = (await client.list()).models.map(model => model.name);
  return { whole, text, models, refused: [refused.status_code, refused.message] };
}

for (const ask of [openai, anthropic, ollama]) said[ask.name] = await ask();
console.log(JSON.stringify(said));
"""


@pytest.fixture(scope="module")
def said(server: Running) -> dict[str, Any]:
    """What all three were told."""
    node_package(FOLDER, *PACKAGES)
    script = FOLDER / "clients.mjs"
    script.write_text(SCRIPT)
    ran = subprocess.run(["node", str(script), server.url], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
def test_a_chat_and_its_stream(said: dict[str, Any], client: str) -> None:
    assert said[client]["whole"] == said[client]["text"] != ""


def test_refusals(said: dict[str, Any]) -> None:
    status, words = said["openai"]["refused"]
    assert (status, "top_p" in words) == (400, True)
    status, words = said["anthropic"]["refused"]
    assert (status, "max_tokens" in words) == (400, True)
    status, words = said["ollama"]["refused"]
    assert (status, "not here" in words) == (404, True)


def test_the_models(said: dict[str, Any]) -> None:
    assert "SmolLM2" in said["ollama"]["models"][0]
