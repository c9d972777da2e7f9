"""docs/samplers.md is what the declarations say, and its plots are what the pipeline does."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from publican.core.presets import Presets
from publican.core.sampling import DECLARED
from publican.core.sampling.orders import ORDERS, STEPS

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "scripts"
PARAMETER_OF = {
    "quadratic_sampling": "smoothing_factor",
    "no_repeat_ngram": "no_repeat_ngram_size",
    "encoder_no_repeat_ngram": "encoder_no_repeat_ngram_size",
    "dry": "dry_multiplier",
    "xtc": "xtc_probability",
}


@pytest.fixture(scope="module")
def docs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        import make_sampler_docs

        yield make_sampler_docs


@pytest.fixture(scope="module")
def plots(docs):
    import sampler_plots

    return sampler_plots


def test_nothing_is_out_of_date(docs):
    assert [path.name for path in docs.stale()] == []


def test_it_says_so_when_it_is(docs, monkeypatch, tmp_path):
    monkeypatch.setattr(docs, "PAGE", tmp_path / "samplers.md")
    assert tmp_path / "samplers.md" in docs.stale()


def test_the_page_has_everything(docs):
    pages = docs.pages()
    page = pages[docs.PAGE]
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert sorted(headings) == sorted(DECLARED)
    assert all(f"| {name} |" in page for name in (*ORDERS, *Presets().names()))
    assert all(alias in page for parameter in DECLARED.values() for alias in parameter.aliases)
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert docs.DOCS / target in pages


def test_every_sampler_has_a_plot(plots):
    assert {PARAMETER_OF.get(step, step) for step in STEPS} <= plots.PLOTS.keys()
    assert plots.PLOTS.keys() <= DECLARED.keys()


def test_every_plot_shows_something_and_is_xml(plots):
    for name, plot in plots.PLOTS.items():
        changed = []
        for row in plots.LOGITS:
            for params in plot.columns.values():
                before, after = plots.distributions(plot, row, params)
                assert after.sum() == pytest.approx(1.0)
                changed.append(not np.allclose(before, after, atol=1e-3))
        assert any(changed), name
        root = ElementTree.fromstring(plots.svg(name))
        assert len(root.findall("{http://www.w3.org/2000/svg}path")) == 3 * len(changed)


def test_as_a_command():
    done = subprocess.run(
        [sys.executable, SCRIPTS / "make_sampler_docs.py", "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
