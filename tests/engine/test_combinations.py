"""Whatever is asked for together, by several at once: every job ends in one event, and the engine goes on."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.executor import Cells, Pages
from publican.core.ids import RequestId
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.engine.job import Close
from publican.executors.fake import fake_info
from tests.engine.drive import Driver

SWITCHES: list[dict[str, Any]] = [
    {"token_healing": True},
    {"regex": "[a-z ]{3,20}"},
    {"choice": ("yes", "no")},
    {"banned_strings": ("e", "th")},
    {"best_of": 3},
    {"guidance_scale": 2.0},
    {"num_beams": 2},
    {"penalty_alpha": 0.6, "top_k": 3},
    {"mirostat_mode": 2},
    {"temperature": 0.0},
]
JOB = st.fixed_dictionaries(
    {
        "switches": st.lists(st.sampled_from(SWITCHES), max_size=3),
        "seed": st.integers(0, 9),
        "wanted": st.builds(
            Wanted,
            num_choices=st.sampled_from([1, 1, 3]),
            logprobs=st.sampled_from([None, None, 2]),
            prompt_logprobs=st.sampled_from([None, None, 0]),
        ),
        "stopping": st.fixed_dictionaries(
            {"max_tokens": st.sampled_from([0, 1, 25, None]), "strings": st.sampled_from([(), (), ("a",)])}
        ),
        "prompt": st.builds(lambda times, tail: "common start " * times + tail, st.integers(0, 4), st.text("xyz", min_size=1)),
        "negative": st.sampled_from(["", "no", "common start"]),
        "num_steps": st.integers(0, 4),
        "abort": st.sampled_from([None, None, None, True, False]),
    }
)


@given(
    jobs=st.lists(JOB, min_size=1, max_size=6),
    memory=st.sampled_from([Pages(4, 48), Pages(16, 24), Cells(260)]),
    max_logits=st.sampled_from([8, 64]),
    max_guessing=st.sampled_from([0, 8]),
)
@settings(max_examples=60)
def test_every_job_ends_once(jobs, memory, max_logits, max_guessing):
    info = fake_info(memory, context_len=100, num_slots=6, max_batch_tokens=20, max_logits=max_logits)
    driver = Driver(info, max_running=6, max_guessing=max_guessing, ends=True)
    forgotten: set[RequestId] = set()
    for job in jobs:
        params: dict[str, Any] = {"temperature": 1.2, "seed": job["seed"]}
        for switch in job["switches"]:
            params |= switch
        negative = job["negative"] if "guidance_scale" in params else ""
        id = driver.submit(job["prompt"], SamplingParams(**params), job["wanted"], negative, **job["stopping"])
        for _ in range(job["num_steps"]):
            driver.step()
        if job["abort"] is not None:
            driver.abort(id, keep=job["abort"])
            if not job["abort"]:
                forgotten.add(id)
    driver.run()
    for id in set(driver.answers) - forgotten:
        driver.answers[id].check()
    assert len(set(driver.answers) | forgotten) == len(jobs)
    assert driver.engine.scheduler.cache.num_locked_tokens == 0
    assert not driver.engine._pipeline._states
    driver.engine.inbox.put(Close())
    driver.engine.run()
    assert driver.executor.closed
