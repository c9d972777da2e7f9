"""Records to numbers. Pure arithmetic, seconds in and seconds out.

The words are the field's: TTFT from sending to the first text, ITL between events with text, TPOT for each token after
the first, goodput the share of requests that met both goals. What failed meets no goal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from publican.bench.timeline import Record


@dataclass(frozen=True, slots=True)
class Goals:
    """What a reader is content with: a quick beginning, and text that comes faster than it is read."""

    ttft_s: float = 2.0
    tpot_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Spread:
    """A few quantiles of a number of things."""

    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        if not values:
            return None
        ordered = sorted(values)
        return cls(quantile(ordered, 0.5), quantile(ordered, 0.95), quantile(ordered, 0.99), ordered[-1])


@dataclass(frozen=True, slots=True)
class Summary:
    """One workload.

    Attributes:
        num_requests: all that count, failed ones too; `errors` counts those by what they said.
        wall_s: from the first request that counts to the end of the last.
        ttft_s, ttfr_s, itl_s, tpot_s, request_s: None where nothing was measured. TTFR is the first event of any kind.
        num_output_tokens: of answers that are whole; `counted` is whether the server counted them all.
        output_per_s: those, in `wall_s`.
        prefill_per_s: prompt tokens that were not cached in the time to the first text; of use where nobody else is served.
        cached: share of the prompts' tokens that were found in a cache; None if the server does not say.
        goodput: share of requests that met the goals; `goodput_per_s` how many did in a second.
    """

    workload: str
    num_requests: int
    errors: dict[str, int]
    wall_s: float
    num_prompt_tokens: int
    num_output_tokens: int
    counted: bool
    output_per_s: float
    prefill_per_s: float | None
    cached: float | None
    ttft_s: Spread | None
    ttfr_s: Spread | None
    itl_s: Spread | None
    tpot_s: Spread | None
    request_s: Spread | None
    goodput: float
    goodput_per_s: float


def summarise(workload: str, records: Sequence[Record], goals: Goals) -> Summary:
    whole = [record for record in records if record.error is None]
    wall_s = max((r.sent_s + r.end_s for r in records), default=0.0) - min((r.sent_s for r in records), default=0.0)
    num_output_tokens = sum(r.num_output_tokens for r in whole)
    num_good = sum(meets(record, goals) for record in records)
    return Summary(
        workload=workload,
        num_requests=len(records),
        errors=dict(Counter(record.error for record in records if record.error is not None)),
        wall_s=wall_s,
        num_prompt_tokens=sum(r.num_prompt_tokens or 0 for r in whole),
        num_output_tokens=num_output_tokens,
        counted=all(r.counted for r in whole),
        output_per_s=_rate(num_output_tokens, wall_s),
        prefill_per_s=_prefill_per_s(whole),
        cached=_cached_share(whole),
        ttft_s=Spread.of([r.first_content_s for r in whole if r.first_content_s is not None]),
        ttfr_s=Spread.of([r.first_event_s for r in whole if r.first_event_s is not None]),
        itl_s=Spread.of([gap for r in whole for gap in r.gaps_s]),
        tpot_s=Spread.of([r.token_s for r in whole if r.token_s is not None]),
        request_s=Spread.of([r.end_s for r in whole]),
        goodput=_rate(num_good, len(records)),
        goodput_per_s=_rate(num_good, wall_s),
    )


def meets(record: Record, goals: Goals) -> bool:
    """Whether a request did what a reader wants. One token alone has no pace to be judged."""
    if record.error is not None or record.first_content_s is None or record.first_content_s > goals.ttft_s:
        return False
    return record.token_s is None or record.token_s <= goals.tpot_s


def quantile(ordered: Sequence[float], q: float) -> float:
    """Quantile `q` of sorted values, between neighbours in a straight line (NumPy's default)."""
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _rate(count: float, per: float) -> float:
    return count / per if per > 0 else 0.0


def _prefill_per_s(whole: Sequence[Record]) -> float | None:
    measured = [r for r in whole if r.num_prompt_tokens is not None and r.first_content_s]
    tokens = sum((r.num_prompt_tokens or 0) - (r.num_cached_tokens or 0) for r in measured)
    return _rate(tokens, sum(r.first_content_s or 0.0 for r in measured)) if measured else None


def _cached_share(whole: Sequence[Record]) -> float | None:
    told = [r for r in whole if r.num_cached_tokens is not None and r.num_prompt_tokens]
    if not told:
        return None
    return sum(r.num_cached_tokens or 0 for r in told) / sum(r.num_prompt_tokens or 0 for r in told)
