"""The commands. The only place that reads settings and wires rooms together.

Nothing here imports a room before its command runs, so `publican --help` is quick.
"""

from __future__ import annotations

import difflib
import importlib
import sys

import click

from publican import __version__

_COMMANDS = {
    "serve": "Serve a model to everyone: the API, all dialects.",
    "chat": "Chat with a running server in this terminal.",
    "pull": "Get a model: from the hub, from anywhere, resumed and verified.",
    "show": "Say what a model is, here or at the hub, from its headers.",
    "list": "List the models that are here, with their disk use.",
    "verify": "Hold models to their hashes, byte for byte.",
    "rm": "Delete models.",
    "fit": "Say whether a model fits, and how much context for how many people.",
    "config": "Print the effective settings, and where each came from.",
    "bench": "Measure a server or an engine.",
}
_MODULES = {"list": "list_models"}
"""Commands whose files are called otherwise: a module `list` here would hide Python's own."""


class _LazyGroup(click.Group):
    """Knows what commands there are, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            near = difflib.get_close_matches(cmd_name.lower(), _COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{cmd_name[:80]}'.{hint}")
        module = _MODULES.get(cmd_name, cmd_name)
        command: click.Command = importlib.import_module(f"publican.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="publican")
def _group() -> None:
    """Host language models for yourself and your friends."""


def main(args: list[str] | None = None) -> None:
    """The `publican` command. An error of ours is one line and exit status 1; a wrong flag is 2."""
    from publican.core.errors import PublicanError

    try:
        status = _group.main(args, prog_name="publican", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PublicanError as error:
        click.echo(f"{click.style('error', fg='red', bold=True)}: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    if isinstance(status, int) and status:  # what a command said with `Context.exit`
        sys.exit(status)
