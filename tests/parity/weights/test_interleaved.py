"""Packs that lie head by head: the plan is found by what the models compute, and loads the right numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.weights.evidence import Signature
from parity.weights.interleaved import interleaved
from parity.weights.matching import find_plan
from parity.weights.plan import Plan
from parity.weights.transfer import Transfer

WIDTH, HEADS = 12, 3
SIZE = WIDTH // HEADS


class Attention(nn.Module):
    """Self-attention with query, key and value of each head (or group) beside each other."""

    def __init__(self, queries: int = 1) -> None:
        super().__init__()
        self.queries = queries
        self.groups = HEADS // queries
        self.qkv = nn.Linear(WIDTH, self.groups * (queries + 2) * SIZE)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (batch, steps, width)."""
        batch, steps, _ = x.shape
        packed = self.qkv(x).view(batch, steps, self.groups, self.queries + 2, SIZE)
        query = packed[:, :, :, : self.queries].reshape(batch, steps, HEADS, SIZE)
        key, value = (packed[:, :, :, self.queries + n].repeat_interleave(self.queries, 2) for n in (0, 1))
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / SIZE**0.5
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value)
        return self.out(mixed.reshape(batch, steps, WIDTH))


def _attended(p: Any, query: Any, key: Any, value: Any) -> jax.Array:
    repeated = HEADS // key.shape[2]
    key, value = (jnp.repeat(a, repeated, 2) for a in (key, value))
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) / SIZE**0.5)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
    return mixed.reshape(*mixed.shape[:2], WIDTH) @ p["out"]["kernel"] + p["out"]["bias"]


def of_matrices(p: Any, x: jax.Array) -> jax.Array:
    """The same with three matrices, whose shapes do not show the heads."""
    made = (x @ p[name]["kernel"] + p[name]["bias"] for name in ("query", "key", "value"))
    return _attended(p, *(a.reshape(*a.shape[:2], -1, SIZE) for a in made))


def of_heads(p: Any, x: jax.Array) -> jax.Array:
    """The same with kernels of (heads, width, size)."""
    made = (
        jnp.einsum("bsi,hid->bshd", x, p[name]["kernel"]) + p[name]["bias"]
        for name in ("query", "key", "value")
    )
    return _attended(p, *made)


def _template(query: tuple[int, ...], key: tuple[int, ...]) -> dict[str, Any]:
    kernels = {"query": query, "key": key, "value": key, "out": (WIDTH, WIDTH)}
    biases = {name: (*s[:-2], s[-1]) for name, s in kernels.items()}
    return {
        name: {"kernel": np.zeros(kernels[name], "float32"), "bias": np.zeros(biases[name], "float32")}
        for name in kernels
    }


@pytest.mark.parametrize(
    ("queries", "candidate", "template"),
    [
        (1, of_matrices, _template((WIDTH, WIDTH), (WIDTH, WIDTH))),
        (1, of_heads, _template((HEADS, WIDTH, SIZE), (HEADS, WIDTH, SIZE))),
        (3, of_matrices, _template((WIDTH, WIDTH), (WIDTH, SIZE))),
    ],
    ids=["matrices", "heads", "one group"],
)
def test_a_pack_head_by_head_finds_its_plan(queries: int, candidate: Any, template: Any) -> None:
    """A right port passes, whatever the order of the packed rows."""
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((2, 5, WIDTH)).astype("float32")
    weights = parity.Weights(template=template)
    report = parity.check(Attention(queries), candidate, {"x": x}, weights=weights)
    assert report.verdict is parity.Verdict.PASS, report


class TokenByToken(Attention):
    """The same behind a norm, causal, a token at a time: no value of the whole sequence is ever there."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (batch, steps, width)."""
        seen: list[torch.Tensor] = []
        given = []
        for token in x.unbind(1):
            packed = self.qkv(self.norm(token)).view(-1, HEADS, 3, SIZE)
            seen.append(packed)
            keys, values = (torch.stack([p[:, :, n] for p in seen], 2) for n in (1, 2))
            scores = torch.einsum("bhd,bhkd->bhk", packed[:, :, 0], keys) / SIZE**0.5
            mixed = torch.einsum("bhk,bhkd->bhd", scores.softmax(-1), values)
            given.append(self.out(mixed.reshape(-1, WIDTH)))
        return torch.stack(given, 1)


def all_at_once(p: Any, x: jax.Array) -> jax.Array:
    """The same for all tokens, under a mask."""
    centred = x - x.mean(-1, keepdims=True)
    x = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
    x = x * p["norm"]["scale"] + p["norm"]["bias"]
    query, key, value = (
        (x @ p[name]["kernel"] + p[name]["bias"]).reshape(*x.shape[:2], HEADS, SIZE)
        for name in ("query", "key", "value")
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / SIZE**0.5
    scores = jnp.where(jnp.tri(x.shape[1], dtype=bool), scores, -jnp.inf)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)
    return mixed.reshape(*x.shape[:2], WIDTH) @ p["out"]["kernel"] + p["out"]["bias"]


def test_a_pack_is_found_where_no_place_tells() -> None:
    """By the outputs: the computations part before the pack is read, because a norm is fused on one side."""
    torch.manual_seed(0)
    template = _template((WIDTH, WIDTH), (WIDTH, WIDTH))
    template["norm"] = {name: np.zeros(WIDTH, "float32") for name in ("scale", "bias")}
    x = np.random.default_rng(0).standard_normal((2, 5, WIDTH)).astype("float32")
    report = parity.check(TokenByToken(), all_at_once, {"x": x}, weights=parity.Weights(template=template))
    assert report.verdict is parity.Verdict.PASS, report


def test_the_numbers_of_an_interleaved_pack() -> None:
    """Part p of head h is rows (h * parts + p) * size of the tensor, in the leaf's own layout."""
    tensor = np.arange(24 * 2, dtype=np.float32).reshape(24, 2)
    parts = [
        Transfer("qkv", name, (24, 2), (2, 8), take=(slice(8 * n, 8 * n + 8),), axes=(1, 0))
        for n, name in enumerate(("q", "k", "v"))
    ]
    plan = Plan(tuple(parts))
    by_heads = {text: other for other, _, text in interleaved(plan, parts[0])}
    (of_two,) = (other for text, other in by_heads.items() if "2 heads" in text)
    loaded = of_two.to_candidate({"qkv": tensor})
    by_head = tensor.reshape(2, 3, 4, 2)
    for n, name in enumerate(("q", "k", "v")):
        np.testing.assert_array_equal(loaded[name], by_head[:, n].reshape(8, 2).T)


def test_the_numbers_of_an_interleaved_leaf() -> None:
    """The other way: tensors of their own fill one leaf head by head."""
    tensors = {name: np.arange(16.0).reshape(8, 2) + 100 * n for n, name in enumerate(("k", "v"))}
    parts = [
        Transfer(name, "kv", (8, 2), (2, 16), axes=(1, 0), put=(slice(None), slice(8 * n, 8 * n + 8)))
        for n, name in enumerate(tensors)
    ]
    options = {text: other for other, _, text in interleaved(Plan(tuple(parts)), parts[0])}
    (of_four,) = (other for text, other in options.items() if "4 heads" in text)
    leaf = of_four.to_candidate(tensors)["kv"].reshape(2, 4, 2, 2)
    for n, name in enumerate(tensors):
        np.testing.assert_array_equal(leaf[:, :, n].reshape(2, 8), tensors[name].T)


def test_gates_and_pinned_parts_stay() -> None:
    """What the user pinned is not varied."""
    parts = [
        Transfer("kv", n, (8, 2), (2, 4), take=(slice(4 * i, 4 * i + 4),), axes=(1, 0), reason="pinned")
        for i, n in enumerate("kv")
    ]
    assert not list(interleaved(Plan(tuple(parts)), parts[0]))


def test_a_leaf_of_a_tensors_name_is_all_of_it() -> None:
    """Queries hold as many numbers as keys and values together: the names say which is which."""
    tensors = {"q_proj.weight": (16, 8), "k_proj.weight": (8, 8), "v_proj.weight": (8, 8)}
    leaves = {"q_proj": (4, 8, 4), "kv_proj": (2, 2, 8, 4)}
    plan = find_plan(
        {name: Signature(shape, "Linear") for name, shape in tensors.items()}, leaves, try_plan=lambda _: 0.0
    )
    assert {t.leaf_path for t in plan.transfers if t.tensor_name == "q_proj.weight"} == {"q_proj"}, plan
    assert {t.leaf_path for t in plan.transfers if t.tensor_name != "q_proj.weight"} == {"kv_proj"}, plan
