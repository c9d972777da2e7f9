"""`publican bench`: measurements that anybody can repeat. Tables to stdout, the same numbers as JSON with --json."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from publican.bench.files import read_report, write_report
from publican.cli.options import LOADING, load_settings, models_dir, settings_options

if TYPE_CHECKING:
    from publican.core.executor import Executor
    from publican.host.options import WorkerSpec
    from publican.settings import Settings

_JSON = click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the report here too.")
_FILE_WIDTH = 160


@click.group("bench")
def command() -> None:
    """Measure a server, an engine, kernels or the samplers."""


@command.command("serve")
@click.argument("url", default="http://127.0.0.1:5000")
@click.option("--key", envvar="PUBLICAN_API_KEY", help="The server's key, if it wants one.")
@click.option("--model", help="The model's name, for servers that insist on one.")
@click.option("--chat", is_flag=True, help="Ask /v1/chat/completions instead of /v1/completions.")
@click.option("--workload", "workloads", multiple=True, help="single, crowd, tavern or swipe; may be repeated. [default: all]")
@click.option("--users", type=int, default=8, show_default=True, help="People at once in crowd and tavern.")
@click.option("--turns", type=int, default=2, show_default=True, help="Turns of each of them.")
@click.option("--prompt-tokens", type=int, default=440, show_default=True, help="Length of a first prompt, about.")
@click.option("--max-tokens", type=int, default=64, show_default=True, help="Length of an answer.")
@click.option("--temperature", type=float, default=0.8, show_default=True)
@click.option("--no-ignore-eos", is_flag=True, help="For servers that refuse ignore_eos; answers may then be shorter.")
@click.option("--seed", type=int, help="The words of the prompts. [default: new ones, so that nothing is cached]")
@_JSON
def serve(url: str, json_path: Path | None, **options: Any) -> None:
    """Load any OpenAI server at URL with four workloads.

    single: one user, new prompts. crowd: many users, nothing in common. tavern: many users, one long character card.
    swipe: one prompt, answered again and again.
    """
    from publican.bench.client import Asking
    from publican.bench.serve import ServeConfig, run_serve
    from publican.bench.serve_report import error_lines, serve_body, serve_table
    from publican.bench.workloads import NAMES, Sizes

    asking = Asking(
        url,
        options["key"],
        options["model"],
        "chat" if options["chat"] else "completions",
        options["max_tokens"],
        options["temperature"],
        not options["no_ignore_eos"],
    )
    sizes = Sizes(num_users=options["users"], num_turns=options["turns"], prompt_tokens=options["prompt_tokens"])
    config = ServeConfig(asking, options["workloads"] or NAMES, sizes, seed=options["seed"])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        report = run_serve(config, tell)
    _give(serve_body(report), [serve_table(report)], json_path)
    failures = error_lines(report)
    for line in failures:
        click.echo(line, err=True)
    if failures:
        sys.exit(1)  # numbers of what was left are no measurement of the server


@command.command("engine")
@click.argument("model", required=False)
@click.option("--batch", "batch_sizes", multiple=True, type=int, help="Batch sizes; may be repeated. [default: 1 2 4 8 16 32]")
@click.option("--context", type=int, default=512, show_default=True, help="Tokens that each sequence holds.")
@click.option("--prompt", type=int, default=512, show_default=True, help="Length of the prompts that are timed.")
@click.option("--steps", type=int, default=32, show_default=True, help="Steps at each batch size.")
@click.option("--shape", help="Instead of MODEL: random weights of a published shape (llama2-7b), on the backend cuda.")
@click.option("--format", "weight_format", default="gptq-4-128", show_default=True, help="How a shape's weights are kept.")
@click.option(
    "--newcomer", type=int, default=4_000, show_default=True, help="Length of a prompt that comes in between; 0: none."
)
@_JSON
@settings_options(*LOADING)
def engine(model: str | None, json_path: Path | None, **options: Any) -> None:
    """Time the executor of MODEL alone, and with the engine around it, so that what the engine adds can be seen.

    With --shape: decoding at batch 1 to 64 and contexts to 8,192, and a prompt, beside what bytes and operations take at least,
    and beside transformers in bfloat16 and libllama in its nearest type where these are installed (libllama reads a file,
    which is made in TMPDIR and deleted again). exllamav2 and exllamav3 are not among them: they run on cards only, and
    nobody had one to try that on.
    """
    shape, weight_format = options.pop("shape"), options.pop("weight_format")
    if shape is not None:
        _time_shape(shape, weight_format)
        return
    from publican.bench.engine import EngineConfig, bench_engine
    from publican.bench.engine_report import engine_body, engine_tables
    from publican.host import executor_for

    own = {name: options.pop(name) for name in ("batch_sizes", "context", "prompt", "steps", "newcomer")}
    values = load_settings(options).values
    config = EngineConfig(
        batch_sizes=own["batch_sizes"] or EngineConfig().batch_sizes,
        context_len=own["context"],
        prompt_len=own["prompt"],
        num_steps=own["steps"],
        newcomer_len=own["newcomer"],
    )
    room = max(config.batch_sizes) * (config.context_len + 2 * config.num_steps) + 2 * (config.prompt_len + config.newcomer_len)
    spec = _spec(values, model, max(config.batch_sizes), room)

    def make() -> Executor:
        return executor_for.build(spec, lambda done, total: None)

    console = Console(stderr=True)
    with console.status("") as status:
        report = bench_engine(make, config, status.update)
    _give(engine_body(report), engine_tables(report), json_path)


@command.command("kernels")
@click.option("--format", "formats", multiple=True, help="Formats of weights; may be repeated. [default: seven of them]")
def kernels(formats: tuple[str, ...]) -> None:
    """Time the cuda backend's kernels, beside what this machine copies and multiplies at best.

    Without an NVIDIA card: their plain twins on the processor, on tiny matrices, which says that they run and no more.
    """
    from dataclasses import replace

    from publican.bench.kernels import TINY, KernelConfig, measure_ceilings, time_kernels
    from publican.bench.kernels_report import ceilings_text, kernels_text
    from publican.executors.native.cuda.backend import operations
    from publican.executors.native.cuda.devices import card_or_cpu

    cuda = card_or_cpu()
    config = KernelConfig() if cuda.kernels == "triton" else TINY
    config = replace(config, formats=formats) if formats else config
    with Console(stderr=True).status("") as status:
        ceilings = measure_ceilings(config)
        times = time_kernels(config, operations(cuda), ceilings, status.update)
    click.echo(ceilings_text(ceilings))
    click.echo(kernels_text(times))


@command.command("samplers")
@click.option("--batch", "batch_sizes", multiple=True, type=int, help="Batch sizes; may be repeated.")
@click.option("--vocabulary", "vocab_sizes", multiple=True, type=int, help="Vocabulary sizes; may be repeated.")
@click.option("--stack", "stacks", multiple=True, help="Stacks of samplers; may be repeated.")
@click.option("--candidate", "candidates", multiple=True, help="Who is timed; may be repeated. [default: all that are here]")
@click.option("--seconds", type=float, default=0.3, show_default=True, help="Time for each candidate in each case.")
@_JSON
def samplers(json_path: Path | None, seconds: float, **lists: Any) -> None:
    """Time samplers: ours on NumPy and torch, llama.cpp's chain, transformers' processors."""
    from publican.bench.samplers import SamplerConfig, SamplerReport, time_samplers
    from publican.bench.samplers_report import samplers_body, samplers_tables

    config = SamplerConfig(seconds=seconds, **{name: values for name, values in lists.items() if values})
    cases = []
    with Console(stderr=True).status("") as status:
        for case in time_samplers(config):
            status.update(f"{case.stack}, {case.vocab_size:,} tokens, batch {case.batch_size}")
            cases.append(case)
    report = SamplerReport(config, tuple(cases))
    _give(samplers_body(report), samplers_tables(report), json_path)


@command.command("compare")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
def compare(before: Path, after: Path) -> None:
    """Compare two reports that were written with --json."""
    from publican.bench.compare import compare_table

    Console().print(compare_table(read_report(before), read_report(after)))


def _time_shape(name: str, weight_format: str) -> None:
    """Each table is printed as soon as it is there: what comes after it may take long, or fail for want of memory."""
    from publican.bench.kernels import TINY, KernelConfig, measure_ceilings
    from publican.bench.kernels_report import ceilings_text, steps_text
    from publican.bench.shape_llama import time_libllama
    from publican.bench.shape_peers import has_transformers, time_transformers
    from publican.bench.shape_times import ShapeConfig, time_shape
    from publican.bench.shapes import parse_format, shape_named
    from publican.executors.native.cuda.devices import card_or_cpu

    spec, how, cuda = shape_named(name), parse_format(weight_format), card_or_cpu()
    on_card = cuda.kernels == "triton"
    config = ShapeConfig(cuda) if on_card else ShapeConfig(cuda, (1, 4), (128,), 128, 3)
    with Console(stderr=True).status("") as status:
        ceilings = measure_ceilings(KernelConfig() if on_card else TINY)
        click.echo(ceilings_text(ceilings))
        click.echo(steps_text(f"{name} {weight_format}", *time_shape(spec, how, config, ceilings, status.update)))
        if has_transformers():
            click.echo(steps_text("transformers, bf16", *time_transformers(spec, config, ceilings, status.update)))
        kind, weight_bytes, times = time_libllama(spec, how, config, ceilings, status.update)
        click.echo(steps_text(f"libllama, {kind}", weight_bytes, times))


def _spec(values: Settings, model: str | None, num_slots: int, num_tokens: int) -> WorkerSpec:
    """What a worker would be told, with as much memory as the measurement needs instead of what people need."""
    import asyncio
    from dataclasses import replace

    from publican.cli.serve import find_or_fetch, load_options
    from publican.host.fake import fake_spec
    from publican.host.library import ModelLibrary
    from publican.host.worker_process import WorkerPort

    if values.loader == "fake":
        return replace(fake_spec(), num_slots=num_slots, num_tokens=num_tokens)
    library = ModelLibrary(models_dir(values), load_options(values), WorkerPort, 0)
    stored = find_or_fetch(model, library.folder)
    library.add(stored)
    spec = asyncio.run(library.open(stored.name, {})).spec
    return replace(spec, num_slots=num_slots, max_running=max(num_slots, 8), num_tokens=max(num_tokens, spec.context_len))


def _give(body: dict[str, Any], tables: list[Any], json_path: Path | None) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    for table in tables:
        console.print(table)
    if json_path is not None:
        write_report(json_path, body)
        console.print(f"written to {json_path}")
