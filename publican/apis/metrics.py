"""What Prometheus reads at /metrics. Event loop only, so plain numbers do, and counting a token costs next to nothing.

The HTTP side counts here; how the engine stands is asked of `host.status()` at the moment of reading.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from publican.core.backend import Status
from publican.core.events import Usage

_TOKEN_BUCKETS_S = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
_CALL_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """Counts of values by upper bound. prometheus_client's own takes a lock and walks its buckets: too dear per token."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        buckets = []
        running = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            running += count
            buckets.append((bound, running))
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self._sum)


class Metrics(Collector):
    """All numbers of one server. Registers itself.

    Attributes:
        first_token_s, inter_token_s, call_s, queue_s: times of answered requests.
        errors: calls that went wrong, by dialect and class of error; num_answered counts requests that did not.
    """

    def __init__(self, status: Callable[[], Status], registry: CollectorRegistry) -> None:
        self.first_token_s = Histogram(_CALL_BUCKETS_S)
        self.inter_token_s = Histogram(_TOKEN_BUCKETS_S)
        self.call_s = Histogram(_CALL_BUCKETS_S)
        self.queue_s = Histogram(_CALL_BUCKETS_S)
        self._calls: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        self.num_answered = 0
        self._num_prompt_tokens = 0
        self._num_cached_tokens = 0
        self._num_completion_tokens = 0
        self._status = status
        registry.register(self)

    def ended(self, dialect: str, status: int, error: str, total_s: float, usage: Usage | None) -> None:
        """A call has ended with HTTP `status`; `error` is the class of what went wrong, if something did."""
        self._calls[dialect, str(status)] += 1
        if error:
            self.errors[dialect, error] += 1
        if usage is not None:
            self.num_answered += not error
            self.call_s.observe(total_s)
            self.queue_s.observe(usage.queue_s)
            self._num_prompt_tokens += usage.num_prompt_tokens
            self._num_cached_tokens += usage.num_cached_tokens
            self._num_completion_tokens += usage.num_completion_tokens

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._engine()
        yield from self._tokens()
        yield self.first_token_s.family("publican_time_to_first_token_seconds", "From a request's arrival to its first token.")
        yield self.inter_token_s.family("publican_inter_token_seconds", "Between two tokens of one answer.")
        yield self.call_s.family("publican_request_seconds", "A whole answered request.")
        yield self.queue_s.family("publican_queue_seconds", "A request's wait before its prompt was begun.")
        yield _labelled("publican_requests", "Calls by dialect and HTTP status (499: the client left).", "status", self._calls)
        yield _labelled("publican_errors", "Calls that went wrong, by dialect and kind.", "error", self.errors)

    def _engine(self) -> Iterator[Metric]:
        status = self._status()
        yield GaugeMetricFamily("publican_healthy", "1 if the model can be asked.", value=float(status.healthy))
        yield GaugeMetricFamily("publican_requests_running", "Answers being computed.", value=status.num_running)
        yield GaugeMetricFamily("publican_requests_waiting", "Answers that wait for room.", value=status.num_waiting)
        yield GaugeMetricFamily("publican_kv_cache_used_ratio", "Share of the KV cache in use.", value=status.kv_used)
        yield CounterMetricFamily(
            "publican_tokens_guessed", "Tokens guessed before they were computed.", value=status.num_guessed
        )
        yield CounterMetricFamily("publican_tokens_guessed_true", "Those of them that came true.", value=status.num_true)
        yield CounterMetricFamily(
            "publican_preemptions",
            "Answers that gave their memory to others and were begun again.",
            value=status.num_preemptions,
        )

    def _tokens(self) -> Iterator[Metric]:
        share = self._num_cached_tokens / self._num_prompt_tokens if self._num_prompt_tokens else 0.0
        yield CounterMetricFamily("publican_prompt_tokens", "Tokens of answered prompts.", value=self._num_prompt_tokens)
        yield CounterMetricFamily(
            "publican_prompt_tokens_cached", "Those of them found in the prefix cache.", value=self._num_cached_tokens
        )
        yield GaugeMetricFamily("publican_prefix_hit_ratio", "Share of prompt tokens found in the cache.", value=share)
        yield CounterMetricFamily("publican_completion_tokens", "Tokens generated.", value=self._num_completion_tokens)


def _labelled(name: str, text: str, label: str, counts: Counter[tuple[str, str]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=("dialect", label))
    for key, count in sorted(counts.items()):
        family.add_metric(list(key), count)
    return family
