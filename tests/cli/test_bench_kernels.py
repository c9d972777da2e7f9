"""`publican bench kernels` and `publican bench engine --shape` on this machine's processor."""

from __future__ import annotations

from click.testing import CliRunner

from publican.cli.bench import command


def test_kernels() -> None:
    done = CliRunner().invoke(command, ["kernels", "--format", "gptq-4-32"])
    assert done.exit_code == 0, done.output
    assert "GB/s" in done.output
    assert "gptq-4-32" in done.output


def test_a_shape() -> None:
    done = CliRunner().invoke(command, ["engine", "--shape", "tiny", "--format", "exl2-4"])
    assert done.exit_code == 0, done.output
    assert "decode, 4 × 128" in done.output
    assert "prompt of 128" in done.output
    assert "libllama, Q4_0" in done.output
