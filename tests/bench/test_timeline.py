import json

import pytest

from publican.bench.timeline import Timeline, complaint


def timeline() -> Timeline:
    """Of a request that was sent at 10, in a workload that began at 8."""
    return Timeline(user=3, turn=1, began_s=8.0, now_s=10.0)


def completion(text: str, reason: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": reason}]})


def chat(delta: dict, reason: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


USAGE = json.dumps({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}})


def test_a_completion():
    line = timeline()
    for data, now in ((completion("Once"), 12.0), (completion(" upon"), 12.5), (completion("", "length"), 13.0), (USAGE, 13.5)):
        line.event(data, now)
    line.event("[DONE]", 13.6)
    record = line.end(14.0)
    assert line.text == "Once upon"
    assert record.error is None
    assert (record.user, record.turn, record.sent_s, record.end_s) == (3, 1, 2.0, 4.0)
    assert (record.first_event_s, record.first_content_s, record.content_end_s) == (2.0, 2.0, 2.5)
    assert record.gaps_s == (0.5,)
    assert (record.num_prompt_tokens, record.num_output_tokens, record.num_cached_tokens) == (9, 5, None)
    assert record.counted
    assert record.token_s == pytest.approx(0.5 / 4)


def test_a_chat_begins_with_an_event_that_is_no_text():
    line = timeline()
    line.event(chat({"role": "assistant", "content": ""}), 11.0)
    line.event(chat({"reasoning_content": "Hm."}), 12.0)
    line.event(chat({"content": "Yes."}, "stop"), 13.0)
    record = line.end(13.0)
    assert (record.first_event_s, record.first_content_s) == (1.0, 2.0)
    assert line.text == "Hm.Yes."


def test_without_usage_events_are_counted_and_it_says_so():
    line = timeline()
    line.event(completion("a"), 11.0)
    line.event(completion("b", "stop"), 12.0)
    record = line.end(12.0)
    assert (record.num_output_tokens, record.counted, record.num_prompt_tokens) == (2, False, None)


def test_the_last_usage_counts_and_the_cache_is_read():
    line = timeline()
    for n in (1, 2):
        usage = {"prompt_tokens": 4, "completion_tokens": n, "prompt_tokens_details": {"cached_tokens": 3}}
        line.event(json.dumps({"choices": [{"text": "x"}], "usage": usage}), 11.0)
    line.event("[DONE]", 12.0)
    record = line.end(12.0)
    assert (record.num_output_tokens, record.num_cached_tokens) == (2, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (json.dumps({"error": {"message": "fell over"}}), "fell over"),
        (json.dumps({"error": "plain"}), "plain"),
        ("{not json", "not JSON"),
        ("[1, 2]", "not an object"),
    ],
)
def test_trouble_in_the_stream_is_the_records_error(data, reason):
    line = timeline()
    line.event(completion("a"), 11.0)
    line.event(data, 12.0)
    line.event(completion("", "stop"), 13.0)
    assert reason in line.end(13.0).error


def test_a_stream_that_ends_too_soon_is_no_answer():
    line = timeline()
    line.event(completion("a"), 11.0)
    assert line.end(12.0).error == "broke off in the middle"


def test_nothing_at_all_is_an_error_with_no_times():
    record = timeline().end(12.0)
    assert record.error is not None
    assert record.first_event_s is record.first_content_s is record.token_s is None


def test_odd_chunks_are_passed_over():
    line = timeline()
    for chunk in ({}, {"choices": None}, {"choices": [{"delta": None, "text": None}]}, {"usage": None}, {"usage": {"x": "y"}}):
        line.event(json.dumps(chunk), 11.0)
    line.event("[DONE]", 12.0)
    record = line.end(12.0)
    assert record.error is None
    assert record.num_output_tokens == 0


@pytest.mark.parametrize("body", [{"error": {"message": "m"}}, {"error": "m"}, {"detail": "m"}, {"message": "m"}, "m"])
def test_complaints_of_all_kinds(body):
    assert complaint(body) == "m"
