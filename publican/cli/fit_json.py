"""A `FitReport` as JSON. Sizes are bytes."""

from __future__ import annotations

from typing import Any

from publican.hardware.plan import Plan
from publican.host.fit_report import FitReport


def report_body(report: FitReport, disk_free: int | None) -> dict[str, Any]:
    """`disk_free`: of the models folder's disk; None for a model that is there already."""
    spec = report.model.spec
    return {
        "model": {
            "name": report.model.name,
            "architecture": spec.architecture,
            "layers": spec.num_layers,
            "native_context": spec.context_len,
            "file_bytes": report.model.file_bytes,
            "bits_per_weight": round(report.bits_per_weight, 3),
            "shape_is_guessed": report.model.is_rough,
            "is_encoder": report.model.is_encoder,
        },
        "engine": report.engine,
        "fits": report.fits,
        "refusal": report.refusal or None,
        "instead": report.instead or None,
        "wanted": _plan(report.wanted),
        "loaded": None if report.refusal else _plan(report.plan),
        "decisions": [
            {"name": each.name, "value": each.value, "why": each.why, "flag": each.flag} for each in report.decisions
        ],
        "limits": [
            {
                "kv_type": each.kv_type,
                "longest_context_for_all": each.longest_for_all,
                "longest_context_for_one": each.longest_for_one,
                "most_users": each.most_users,
            }
            for each in report.limits
        ],
        "remedies": [remedy.text for remedy in report.remedies],
        "disk": None if disk_free is None else {"needed_bytes": report.disk_bytes, "free_bytes": disk_free},
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "context": plan.load.context_len,
        "users": plan.load.num_users,
        "kv_type": plan.load.kv_type if plan.needs.kv_bytes else None,
        "fits": plan.fits,
        "total_bytes": plan.total_bytes,
        "missing_bytes": plan.missing_bytes,
        "devices": [
            {
                "name": share.device.name,
                "is_gpu": share.device.is_gpu,
                "total_bytes": share.device.total_bytes,
                "free_bytes": share.device.free_bytes,
                "reserve_bytes": share.device.reserve_bytes,
                "layers": share.num_layers,
                "weight_bytes": share.weight_bytes,
                "kv_bytes": share.kv_bytes,
                "scratch_bytes": share.scratch_bytes,
                "overhead_bytes": share.overhead_bytes,
                "passing_bytes": share.passing_bytes,
                "room_bytes": share.room_bytes,
            }
            for share in plan.shares
        ],
    }
