"""The numbers at /metrics under TGI's names too, for dashboards made for it. Event loop only.

They count everybody's requests, in whatever dialect: those dashboards are about a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric, UntypedMetricFamily
from prometheus_client.registry import Collector

from publican.apis.metrics import Metrics
from publican.core.backend import Status

_FAILURES = {"Overloaded": "overloaded", "EngineError": "generation", "WorkerDied": "generation"}
"""TGI's word for each kind of error; whatever else went wrong was not valid."""


class TgiMetrics(Collector):
    """A second reading of `metrics`. Register it beside them."""

    def __init__(self, metrics: Metrics, status: Callable[[], Status]) -> None:
        self._metrics = metrics
        self._status = status

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield GaugeMetricFamily("tgi_queue_size", "Requests that wait for room.", value=status.num_waiting)
        yield GaugeMetricFamily("tgi_batch_current_size", "Answers being computed.", value=status.num_running)
        answered, failures = self._metrics.num_answered, self._failures()
        # untyped, because a counter's name would be given an ending that TGI's names do not have
        yield UntypedMetricFamily("tgi_request_count", "Requests.", value=answered + sum(failures.values()))
        yield UntypedMetricFamily("tgi_request_success", "Requests that were answered.", value=answered)
        failed = UntypedMetricFamily("tgi_request_failure", "Requests that were not, by kind.", labels=("err",))
        for kind, count in sorted(failures.items()):
            failed.add_metric([kind], count)
        yield failed
        yield self._metrics.call_s.family("tgi_request_duration", "A whole answered request, in seconds.")
        yield self._metrics.queue_s.family("tgi_request_queue_duration", "A request's wait, in seconds.")
        yield self._metrics.inter_token_s.family(
            "tgi_request_mean_time_per_token_duration", "Between two tokens of one answer, in seconds."
        )

    def _failures(self) -> dict[str, int]:
        failures: dict[str, int] = {}
        for (_, error), count in self._metrics.errors.items():
            kind = _FAILURES.get(error, "validation")
            failures[kind] = failures.get(kind, 0) + count
        return failures
