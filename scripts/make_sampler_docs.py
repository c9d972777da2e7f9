#!/usr/bin/env python3
"""Writes docs/samplers.md and its plots from the declarations: `python scripts/make_sampler_docs.py`.

With `--check` it writes nothing and says what is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sampler_plots import PLOTS, svg

from publican.core.parameters import Parameter, Wire, wire_names
from publican.core.presets import Presets
from publican.core.sampling import DECLARED
from publican.core.sampling.dialects import DIALECTS
from publican.core.sampling.orders import DEFAULT_ORDERS, ORDERS, STEPS
from publican.core.sampling.wire import ZERO_DRY_RANGE_IS_OFF, ZERO_RANGE_IS_OFF

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "samplers.md"
PLOT_FOLDER = DOCS / "samplers"

_ZERO_IS_OFF = {"repetition_penalty_range": ZERO_RANGE_IS_OFF, "dry_range": ZERO_DRY_RANGE_IS_OFF}
GROUPS = {
    "shape": ("Shape", "What bends the distribution without leaving tokens out."),
    "truncation": ("Truncation", "What leaves tokens out. At least one always stays; of equals the lowest id comes first."),
    "penalties": (
        "Penalties",
        "What looks back at the text. A dot under a bar marks a token that is there already; the text of the plots is "
        "c f b j c f.",
    ),
    "feedback": ("Feedback", "What is steered by what was drawn. The plots show the first token."),
    "bans": ("Biases and bans", "What is asked of single tokens and texts. It comes before all else."),
    "selection": ("Selection", "How a token is taken from what is left."),
    "guidance": ("Guidance", "A second sequence without the prompt, computed in the same step."),
    "strings": ("Strings", "What goes by text instead of tokens."),
    "constraints": ("Constraints", "At most one of these; grammar wins over json_schema, that over regex, that over choice."),
    "search": ("Search", "Several answers side by side."),
    "variants": (
        "Variants",
        "Where peers disagree. A dialect sets what its own clients expect; any request may say otherwise.",
    ),
}

HEAD = """# Samplers

<!-- Written by scripts/make_sampler_docs.py from publican/core/sampling. Do not edit: run the script. -->

Every parameter of every dialect, what it does, and what single dialects do differently. All of them run on every loader and
at every batch size (`penalty_alpha` needs hidden states, which only the native loader gives). A parameter at its neutral
value changes nothing, to the last bit. What is outside its range is refused, and the answer says what the range is; so are
NaN and infinity. JSON `null` is silence.

In the plots grey is before and blue is after; a bar's height is the square root of the probability, so that tails can be
seen. The upper row is a model that is sure, the lower one a model that is not.
"""

SEEDS = """## Seeds

A draw depends on the seed and on the position of the token, and on nothing else: the same logits give the same token, in
`n`, after a preemption, after a restart, whoever else is in the batch. Choice *i* of `n` has the seed `seed + i`. Without a
seed a request gets a random one.

What the batch may change is the logits, and that is the loader's business. `native` on the CPU computes each row the same
way whatever else is in the step. On a GPU, and with libllama, matrix products of different shapes round differently, so a
token may come out differently where two are almost equally likely.

Numbers are float32, sums float64 in an order that depends on the row alone.
"""


def pages() -> dict[Path, str]:
    """Every generated file and its text."""
    plots = {PLOT_FOLDER / f"{name}.svg": svg(name) for name in PLOTS}
    return {PAGE: "\n".join((HEAD, *_groups(), _orders(), SEEDS, _presets())), **plots}


def _groups() -> Iterator[str]:
    for group, (title, text) in GROUPS.items():
        yield f"## {title}\n\n{text}\n"
        for name, parameter in DECLARED.items():
            if parameter.group == group:
                yield _entry(name, parameter)


def _entry(name: str, parameter: Parameter) -> str:
    facts = [parameter.range_text, f"neutral {_shown(parameter.neutral)}"]
    if parameter.aliases:
        facts.append("also " + ", ".join(f"`{alias}`" for alias in parameter.aliases))
    if parameter.negative_off:
        facts.append("any negative number is off")
    lines = [f"### {name}\n", parameter.text, "", f"*{'; '.join(facts)}.*", ""]
    differences = list(_differences(parameter))
    if differences:
        lines += [*differences, ""]
    if name in PLOTS:
        lines += [f"![What {name} does](samplers/{name}.svg)", ""]
    return "\n".join(lines)


def _differences(parameter: Parameter) -> Iterator[str]:
    """One line for all dialects that differ in the same way."""
    alike: dict[str, list[str]] = {}
    for dialect in DIALECTS:
        wire = parameter.wire.get(dialect)
        text = "; ".join(_parts(parameter, dialect, wire)) if wire else ""
        if text:
            alike.setdefault(text, []).append(dialect)
    for text, dialects in alike.items():
        yield f"- {', '.join(dialects)}: {text}"


def _parts(parameter: Parameter, dialect: str, wire: Wire) -> Iterator[str]:
    if wire.names:
        names = wire_names(parameter, dialect)
        yield "called " + ", then ".join(f"`{name}`" for name in names)
    if wire.default is not None:
        yield f"{_shown(wire.default)} when silent"
    if dialect in _ZERO_IS_OFF.get(parameter.name, ()):
        yield "0 switches the penalty off"
    if wire.off:
        yield f"{' or '.join(f'{value:g}' for value in wire.off)} is the neutral value"
    if wire.scale != 1.0:
        yield f"in units of {wire.scale:g}"
    if wire.low is not None or wire.high is not None:
        low = parameter.low if wire.low is None else wire.low
        high = parameter.high if wire.high is None else wire.high
        yield f"from {low:g} to {high:g}"
    if wire.clamp:
        yield "moved into the range instead of refused"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{item!r}`" for item in value)
    return f"`{value}`" if isinstance(value, str) else f"{value:g}"


def _orders() -> str:
    lines = [
        "## Orders\n",
        "Masks, biases and bans come first and the draw comes last; between them the steps run in the order that a request "
        "gives (`order`, or as its dialect calls it), or in its dialect's own. The name of an order stands for it. A step "
        "that a peer does not have stands where it does no harm: penalties in front, the rest behind.\n",
        "| order | default of | steps |",
        "|---|---|---|",
    ]
    for name, order in ORDERS.items():
        dialects = [dialect for dialect in DIALECTS if DEFAULT_ORDERS.get(dialect, "publican") == name]
        lines.append(f"| {name} | {', '.join(dialects)} | {', '.join(order)} |")
    assert set(STEPS) == set(ORDERS["publican"])
    return "\n".join([*lines, ""])


def _presets() -> str:
    presets = Presets()
    lines = [
        "## Presets\n",
        '`"preset": "name"` in any request, of any dialect. Upper and lower case, dashes and underscores do not matter. A '
        "host's own presets are files in its presets folder: TOML with the parameters as `name = value`, or "
        "text-generation-webui's YAML.\n",
        "| preset | what it sets |",
        "|---|---|",
    ]
    for name in presets.names():
        values = presets.get(name)
        said = [f"{key} {_shown(value)}" for key, value in values.items() if key != "order" and not _is_neutral(key, value)]
        order = next((own for own, steps in ORDERS.items() if steps == values.get("order")), "its own order")
        said += [f"order {order}"] if "order" in values else []
        lines.append(f"| {name} | {', '.join(said) or 'nothing'} |")
    return "\n".join([*lines, ""])


def _is_neutral(name: str, value: Any) -> bool:
    return bool(value == DECLARED[name].neutral)


def stale() -> list[Path]:
    """The files that are not what they should be, or should not be there."""
    wanted = pages()
    wrong = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    return wrong + [path for path in PLOT_FOLDER.glob("*") if path not in wanted]


def main() -> int:
    wrong = stale()
    if "--check" in sys.argv[1:]:
        for path in wrong:
            print(f"{path} is out of date; run scripts/make_sampler_docs.py.")
        return bool(wrong)
    PLOT_FOLDER.mkdir(exist_ok=True)
    wanted = pages()
    for path in wrong:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    print(f"{len(wrong)} files written.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
