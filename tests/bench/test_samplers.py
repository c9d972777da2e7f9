import json

import numpy as np
import pytest

from publican.bench.sampler_peers import LlamaChain, TransformersProcessors, has_llama, has_transformers
from publican.bench.samplers import CANDIDATES, NUMPY, STACKS, SamplerConfig, SamplerReport, logits_like_a_model, time_samplers
from publican.bench.samplers_report import samplers_body, samplers_tables
from publican.core.sampling import SamplingParams
from tests.bench.shown import row

SMALL = SamplerConfig(batch_sizes=(1, 3), vocab_sizes=(500,), context_len=40, seconds=0.0)
INSTALLED = {NUMPY, *([LlamaChain.name] if has_llama() else []), *([TransformersProcessors.name] if has_transformers() else [])}


@pytest.fixture(scope="module")
def report() -> SamplerReport:
    return SamplerReport(SMALL, tuple(time_samplers(SMALL)))


def test_every_case_times_everybody_who_is_here(report):
    assert {(c.stack, c.vocab_size, c.batch_size) for c in report.cases} == {(s, 500, b) for s in STACKS for b in (1, 3)}
    for case in report.cases:
        names = [time.candidate for time in case.times]
        assert set(names) >= INSTALLED
        assert names == [name for name in CANDIDATES if name in names]
        assert all(0 < time.best_s <= time.median_s and time.num_steps >= 3 for time in case.times)


def test_tables_and_files_hold_the_medians(report):
    tables = samplers_tables(report)
    assert [str(table.title).split(" ·")[0] for table in tables] == list(STACKS)
    case = report.cases[0]
    cells = row(tables[0], " 500 ", " 1 ")
    assert cells[2] == f"{case.times[0].median_s * 1e6:,.0f}"
    assert json.loads(json.dumps(samplers_body(report)))["cases"][0]["times"][0]["median_s"] == case.times[0].median_s


def test_what_a_peer_lacks_is_said(report):
    if not has_transformers():
        pytest.skip("transformers is not installed")
    (table,) = [table for table in samplers_tables(report) if str(table.title).startswith("chat")]
    assert "transformers leaves out DRY, presence, frequency" in str(table.caption)


def test_only_who_was_asked_for_is_timed():
    config = SamplerConfig((1,), (100,), ("greedy",), 10, 0.0, (NUMPY,))
    (case,) = time_samplers(config)
    assert [time.candidate for time in case.times] == [NUMPY]


def test_logits_have_a_best_far_above_the_mean():
    logits = logits_like_a_model(2, 3, 5_000)
    assert logits.shape == (2, 3, 5_000)
    assert logits.dtype == np.float32
    distance = (logits.max(axis=-1) - logits.mean(axis=-1)) / logits.std(axis=-1)
    assert (distance > 2).all()


PEERS = [
    pytest.param(LlamaChain, marks=pytest.mark.skipif(not has_llama(), reason="llama-cpp-python is not installed")),
    pytest.param(
        TransformersProcessors, marks=pytest.mark.skipif(not has_transformers(), reason="transformers is not installed")
    ),
]


@pytest.mark.parametrize("kind", PEERS)
def test_peers_do_the_work_that_they_are_timed_for(kind):
    """Greedy with a strong repetition penalty goes elsewhere than without; top_k 1 draws the best."""
    logits = np.full((1, 50), 0.1, np.float32)
    logits[0, 7] = 3.0
    logits[0, 9] = 2.0

    def token(params: SamplingParams) -> int:
        texts = [[7, 7, 7]]
        peer = kind(params, 50, texts) if kind is LlamaChain else kind(params, texts)
        peer.step_s(logits.copy(), texts)
        peer.close()
        return texts[0][-1]

    assert token(SamplingParams(temperature=0.0)) == 7
    assert token(SamplingParams(temperature=0.0, repetition_penalty=3.0)) == 9
    assert token(SamplingParams(temperature=2.0, top_k=1)) == 7
