#!/usr/bin/env python3
"""Writes docs/settings.md from the one schema of all settings: `python scripts/make_settings_docs.py`. A test compares."""

from __future__ import annotations

import sys
import typing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pydantic.fields import FieldInfo  # noqa: E402

from publican.settings import Settings, flag_of, variable_of  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"
HEAD = """\
# Settings

<!-- Made by scripts/make_settings_docs.py from publican/settings.py; change it there. -->

Every setting can be given in three places; the later one wins, and `publican config` says which did:

1. `publican.toml` in the folder where publican is started (or `--config FILE`): `ctx = 8192`
2. the environment: `PUBLICAN_CTX=8192`
3. a flag: `--ctx 8192`

A value that is blank says nothing, wherever it stands. An unknown key in the file is an error, and an unknown `PUBLICAN_…`
variable a warning.

```toml
# publican.toml of a host with friends
model = "Qwen2.5-7B-Instruct"
listen = true
api_key = "…"
users = 8
ctx = 8192
```

| in `publican.toml` | values | default | |
|---|---|---|---|
"""


def page() -> str:
    rows = [
        f"| `{name}` | {_values(info)} | {_default(info)} | {info.description} |"
        for name, info in Settings.model_fields.items()
    ]
    name = "stream_port"
    end = f"\nThe flag of `{name}` is `{flag_of(name)}`, its variable `{variable_of(name)}`; so for all of them.\n"
    return HEAD + "\n".join(rows) + "\n" + end


def _values(info: FieldInfo) -> str:
    kinds = [kind for kind in (typing.get_args(info.annotation) or (info.annotation,)) if kind is not type(None)]
    if typing.get_origin(kinds[0]) is typing.Literal:
        kinds = list(typing.get_args(kinds[0]))
    if all(isinstance(kind, str) for kind in kinds):
        return ", ".join(f"`{kind}`" for kind in kinds)
    if kinds[0] is bool:
        return "yes or no"
    limits = {type(rule).__name__: rule for rule in info.metadata}
    if "Ge" in limits and "Le" in limits:
        return f"{limits['Ge'].ge:,} to {limits['Le'].le:,}"
    return "texts" if typing.get_origin(info.annotation) is tuple else "text"


def _default(info: FieldInfo) -> str:
    value: Any = info.default
    if value is None or value in ((), ""):
        return "–"
    return ("no", "yes")[value] if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
