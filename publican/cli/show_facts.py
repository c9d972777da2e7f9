"""An `Inspection` as lines for people and as JSON for programs. All its texts may come from strangers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from publican.cli.plain import printable, size
from publican.cli.pull_table import candidates_table
from publican.store.inspect.inspection import Inspection
from publican.store.inspect.outline import Outline, outline
from publican.store.pull.choose import Row

_MAX_FILES = 60


def print_inspection(console: Console, found: Inspection, problem: str, rows: Sequence[Row]) -> None:
    """Everything about it.

    Args:
        problem: why it cannot be run and what to pull instead; empty for nothing.
        rows: the models of its repository; none for one that is here.
    """
    console.print(f"[bold]{escape(printable(found.name))}[/]", soft_wrap=True)
    for name, text in facts(found):
        console.print(f"[bold]{name:>14}[/]  {escape(text)}", soft_wrap=True)
    runs = f"[bold red]no[/]: {escape(printable(problem, 600))}" if problem else "[green]yes[/]"
    console.print(f"[bold]{'runs here':>14}[/]  {runs}", soft_wrap=True)
    if len(rows) > 1:
        console.print()
        console.print(candidates_table(rows))
    if found.files:
        console.print()
        console.print(_files(found))


def facts(found: Inspection) -> list[tuple[str, str]]:
    """Names and texts, in a good order; what is not known is left out."""
    shape, form = outline(found.checkpoint), found.form
    more = ", ".join(f"{name}: {printable(value, 60)}" for name, value in form.facts.items())
    heads = f"{shape.num_heads} heads, {shape.num_kv_heads} for keys and values, {shape.head_dim} wide"
    source = f"{found.revision or 'main'} at {found.commit}" if found.commit else ""
    named = [
        ("kind", found.kind),
        ("format", f"{found.container}, {printable(form.name)}{f' ({more})' if more else ''}"),
        ("architecture", printable(found.architecture)),
        ("parameters", _parameters(form.num_params)),
        ("bits", f"{form.bits_per_weight:.2f} per weight, {size(form.num_bytes)} of tensors" if form.num_params else ""),
        ("context", _context(shape)),
        ("layers", _layers(shape)),
        ("attention", heads if shape.num_heads else ""),
        ("vocabulary", f"{shape.vocab_size:,}" if shape.vocab_size else ""),
        ("tokenizer", printable(found.tokenizer)),
        ("chat template", f"{len(found.chat_template):,} characters (--template prints it)" if found.chat_template else "none"),
        ("licence", printable(found.licence)),
        ("made from", printable(", ".join(found.base_models))),
        ("revision", printable(source)),
    ]
    return [(name, text) for name, text in named if text]


def body(found: Inspection, problem: str, rows: Sequence[Row]) -> dict[str, Any]:
    """For programs."""
    form = found.form
    return {
        "name": found.name,
        "kind": found.kind,
        "container": found.container,
        "quantization": {"name": form.name, **form.facts},
        "architecture": found.architecture,
        "num_parameters": form.num_params,
        "bits_per_weight": round(form.bits_per_weight, 3),
        "tensor_bytes": form.num_bytes,
        **asdict(outline(found.checkpoint)),
        "tokenizer": found.tokenizer,
        "chat_template": found.chat_template,
        "licence": found.licence,
        "base_models": list(found.base_models),
        "revision": found.revision,
        "commit": found.commit,
        "files": [
            {"name": file.name, "num_bytes": file.num_bytes, **({file.digest.kind: file.digest.hex} if file.digest else {})}
            for file in found.files
        ],
        "problem": problem,
        "models": [
            {
                "label": row.candidate.label,
                "format": row.candidate.container,
                "num_bytes": row.candidate.num_bytes,
                "bits_per_weight": round(row.bits_per_weight, 3),
                "fits": row.fitting.fits if row.fitting else None,
            }
            for row in rows
        ],
    }


def _parameters(count: int) -> str:
    if not count:
        return ""
    return f"{count / 1e9:,.2f} billion" if count >= 1e9 else f"{count / 1e6:,.1f} million"


def _context(shape: Outline) -> str:
    if not shape.context_len:
        return ""
    if not shape.rope:
        return f"{shape.context_len:,} tokens"
    return f"{shape.native_context_len:,} tokens, stretched ({shape.rope}) to {_stretched(shape):,}"


def _stretched(shape: Outline) -> int:
    """`linear` and `dynamic` are described by a factor and the length before."""
    if shape.context_len > shape.native_context_len:
        return shape.context_len
    factor = float(shape.rope.split(", ")[1].split(" ")[0]) if ", " in shape.rope else 1.0
    return int(shape.native_context_len * factor)


def _layers(shape: Outline) -> str:
    if not shape.num_layers:
        return ""
    parts = [f"{shape.num_layers}", f"{shape.hidden_size:,} wide", f"{shape.ffn_size:,} in between" if shape.ffn_size else ""]
    parts += [f"{shape.num_experts} experts" if shape.num_experts else ""]
    parts += [f"a window of {shape.sliding_window:,}" if shape.sliding_window else ""]
    return ", ".join(part for part in parts if part)


def _files(found: Inspection) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right")
    table.add_column("hash")
    for file in found.files[:_MAX_FILES]:
        digest = f"{file.digest.kind} {file.digest.hex}" if file.digest else ""
        table.add_row(escape(printable(file.name)), size(file.num_bytes), digest)
    if len(found.files) > _MAX_FILES:
        table.add_row(f"and {len(found.files) - _MAX_FILES} more", "", "")
    return table
