"""`TorchOperations`: every operation in plain torch, on any device. What the kernels are tested against.

Sums are float32 whatever the activations are. Weights are dequantised anew each time: this is for reading and for testing.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from publican.executors.native.cuda.inputs import StepInputs
from publican.executors.native.cuda.mixtures import Mixture
from publican.executors.native.cuda.one_by_one import experts_one_by_one
from publican.executors.native.cuda.operations import HeadNorms, Heads, Pages, RowNorm, Scores
from publican.executors.native.cuda.packing import DenseWeight, Weight, dequantise
from publican.executors.native.kv_codes import GROUP_LEN, hadamard

SMALLEST_SCALE = 2.0**-14
"""Of keys and values in codes: below it float16 has fewer digits."""


class TorchOperations:
    """Follows `operations.Operations`."""

    def block_sizes(self, heads: Heads) -> tuple[int, int]:
        return 16, 64

    def embed(self, table: Weight, tokens: torch.Tensor, scale: float, dst: torch.Tensor) -> None:
        rows = tokens.long()
        values = table.values[rows].float() if isinstance(table, DenseWeight) else dequantise(table, rows)
        dst.copy_(values * scale)

    def norm(self, src: torch.Tensor, norm: RowNorm) -> None:
        norm.dst.copy_(rms_norm(src, norm.weight, norm.eps))

    def linear(self, x: torch.Tensor, weight: Weight, bias: torch.Tensor | None, dst: torch.Tensor) -> None:
        y = self.partials(x, weight)[0]
        dst.copy_(y if bias is None else y + bias)

    def partials(self, x: torch.Tensor, weight: Weight) -> torch.Tensor:
        values = weight.values.float() if isinstance(weight, DenseWeight) else dequantise(weight)
        return (x.float() @ values.T)[None]

    def add(
        self, y: torch.Tensor, bias: torch.Tensor | None, scale: float, residual: torch.Tensor, norm: RowNorm | None
    ) -> None:
        total = y.float().sum(0)
        residual += scale * (total if bias is None else total + bias)
        if norm is not None:
            self.norm(residual, norm)

    def gate(self, gate_up: torch.Tensor, activation: str, dst: torch.Tensor) -> None:
        gate, up = gate_up.float().chunk(2, 1)
        activated = functional.silu(gate) if activation == "silu" else functional.gelu(gate, approximate="tanh")
        dst.copy_(activated * up)

    def experts(self, x: torch.Tensor, mixture: Mixture, shared: torch.Tensor | None, dst: torch.Tensor) -> None:
        experts_one_by_one(self, x, mixture, shared, dst)

    def store_kv(
        self,
        qkv: torch.Tensor,
        pages: Pages,
        inputs: StepInputs,
        heads: Heads,
        norms: HeadNorms,
        rope: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> None:
        q, k, v = split_heads(qkv, heads)
        positions = inputs.positions.long()
        turned = [_turn(part.float(), weight, norms.eps, rope, positions) for part, weight in ((q, norms.q), (k, norms.k))]
        if pages.are_nibbles:
            turned = [mixed(part) for part in turned]
        q.copy_(turned[0])
        page_len = pages.keys.shape[2]
        page = inputs.table(pages.is_windowed).long()[inputs.owners.long(), positions // page_len]
        place = page, slice(None), positions % page_len
        for into, scales, part in ((pages.keys, pages.key_scales, turned[1]), (pages.values, pages.value_scales, v.float())):
            if scales is None:
                into[place] = part.to(into.dtype)
            else:
                into[place], scales[place] = nibbles(part) if pages.are_nibbles else quantised(part)

    def attend(
        self, qkv: torch.Tensor, pages: Pages, inputs: StepInputs, heads: Heads, scores: Scores, dst: torch.Tensor
    ) -> None:
        q, _, _ = split_heads(qkv, heads)
        batch, page_len = inputs.batch, pages.keys.shape[2]
        for s, (start, length, past) in enumerate(zip(batch.starts, batch.lengths, batch.past, strict=True)):
            first_page = max(0, int(past) + 1 - scores.window) // page_len if scores.window else 0  # others may be gone
            first, num_tokens = first_page * page_len, int(past + length)
            table = inputs.table(pages.is_windowed)[s, first_page : -(-num_tokens // page_len)].long()
            keys = held(pages.keys, pages.key_scales, table, num_tokens - first)
            values = held(pages.values, pages.value_scales, table, num_tokens - first)
            rows = slice(int(start), int(start + length))
            attended = attention(q[rows].float(), keys, values, inputs.positions[rows] - first, scores)
            dst[rows] = attended.flatten(1).to(dst.dtype)


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and a float16 scale for each last row of `x`."""
    scales = (x.abs().amax(-1) / 127.0).clamp_min(SMALLEST_SCALE).half()
    codes = torch.floor(x / scales[..., None].float() + 0.5).clamp(-127, 127)
    return codes.to(torch.int8), scales


def mixed(x: torch.Tensor) -> torch.Tensor:
    """Hadamard's transform of every 32 numbers of the last dimension, which is its own inverse."""
    return (x.unflatten(-1, (-1, GROUP_LEN)) @ torch.from_numpy(hadamard(GROUP_LEN)).to(x.device)).flatten(-2)


def nibbles(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two codes in a byte, and a float16 step for every 32 numbers of each last row of `x`."""
    groups = x.unflatten(-1, (-1, GROUP_LEN))
    most, least = groups.amax(-1), groups.amin(-1)
    exact = torch.where(most > -least, most, least) / -8.0
    steps = torch.where(exact.abs() < SMALLEST_SCALE, SMALLEST_SCALE, exact).half()
    codes = torch.floor(groups / steps[..., None].float() + 8.5).clamp(0, 15).to(torch.uint8)
    return (codes[..., :16] | codes[..., 16:] << 4).flatten(-2), steps


def decoded(codes: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """What `nibbles` stand for, float32."""
    groups = codes.unflatten(-1, (-1, 16))
    return ((torch.cat([groups & 15, groups >> 4], -1).float() - 8.0) * steps[..., None].float()).flatten(-2)


def held(part: torch.Tensor, scales: torch.Tensor | None, table: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """The first tokens [num_tokens, heads, head_dim] of the pages `table`, float32."""
    if scales is None:
        values = part[table].float()
    elif part.dtype == torch.uint8:
        values = decoded(part[table], scales[table])
    else:
        values = part[table].float() * scales[table][..., None].float()
    return values.transpose(1, 2).flatten(0, 1)[:num_tokens]


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight


def split_heads(qkv: torch.Tensor, heads: Heads) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views [M, heads, head_dim] of q, k and v."""
    cut = qkv.view(len(qkv), -1, heads.dim)
    keys_end = heads.num_q + heads.num_kv
    return cut[:, : heads.num_q], cut[:, heads.num_q : keys_end], cut[:, keys_end:]


def attention(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor, scores: Scores
) -> torch.Tensor:
    """[m, q heads, head_dim] of one sequence: q of the same shape, keys and values [T, kv heads, head_dim]; `positions` [m]
    are places among the T."""
    per_kv = q.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(per_kv, 1), values.repeat_interleave(per_kv, 1)
    weights = scores.scale * torch.einsum("mhd,thd->hmt", q, keys)
    if scores.softcap:
        weights = scores.softcap * torch.tanh(weights / scores.softcap)
    back = positions[:, None] - torch.arange(len(keys), device=q.device)
    unseen = (back < 0) | (back >= scores.window) if scores.window else back < 0
    return torch.einsum("hmt,thd->mhd", weights.masked_fill(unseen, -torch.inf).softmax(-1), values)


def _turn(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    eps: float,
    rope: tuple[torch.Tensor, torch.Tensor] | None,
    positions: torch.Tensor,
) -> torch.Tensor:
    """Heads [M, heads, head_dim], normalised each alone, and rotated: number i with number i + dim / 2."""
    if weight is not None:
        x = rms_norm(x, weight, eps)
    if rope is None:
        return x
    cos, sin = (table[positions][:, None] for table in rope)
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)
