"""What `publican serve` prints while it starts: names come out of files, and may be made to confuse a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from publican.cli import screen
from publican.cli.fit_show import print_report
from publican.core.backend import ModelCard
from publican.hardware.machine import described_machine
from publican.hardware.shapes import SHAPES
from publican.hardware.sizes import GIB
from publican.host.choose import Chosen
from publican.host.fake import FakeLibrary
from publican.host.fit_report import make_report
from publican.host.fit_shape import described_model
from publican.host.host import ModelHost
from publican.host.options import LoadOptions
from publican.settings import Settings

ODD = "a[/b] [v2]\x1b[2J"


def banner(values: Settings, key: str | None) -> None:
    library = FakeLibrary()
    screen.banner(values, key, ModelCard(ODD, 64, True), ModelHost(library), library)


def test_bars_take_any_name() -> None:
    with screen.loading(ODD) as tell:
        tell(1, 2)
    with screen.downloading(ODD, 10) as tell:
        tell(10, 10)


def test_a_name_is_printed_as_it_is_and_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    banner(Settings(), None)
    out = capsys.readouterr().out
    assert "a[/b] [v2][2J" in out
    assert "\x1b" not in out


def test_a_key_that_was_made_is_shown_and_one_that_was_set_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    banner(Settings(listen=True), "made-just-now")
    assert capsys.readouterr().out.count("made-just-now") == 2
    banner(Settings(api_key="hunter2"), "hunter2")
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert 'Bearer $PUBLICAN_API_KEY"' in out


def test_a_fit_report_takes_any_name() -> None:
    model = described_model(ODD, SHAPES["llama-2-7b"], 4, 128)
    for ram in (64, 2):
        machine = described_machine((), ram * GIB, 8)
        report = make_report(model, Chosen("native", "cpu", ODD), LoadOptions(), machine)
        console = Console(file=io.StringIO(), width=160)
        print_report(report, None, console)
        assert "a[/b] [v2][2J" in console.file.getvalue()
