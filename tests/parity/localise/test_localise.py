"""Places: two faults in one run, a small one deep down, a layer of a scan, nothing on right ports."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

import parity
from parity.pipeline.arguments import sorted_arguments
from parity.report.results import Report, Verdict, once_each

DEPTH, WIDTH = 12, 16
X = {"x": np.random.default_rng(0).standard_normal((3, WIDTH)).astype(np.float32)}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + nn.functional.gelu(self.up(self.norm(x)))


def tower() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(*[Block() for _ in range(DEPTH)])
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return module.eval()


def template() -> Any:
    block = {
        "norm": {"scale": jnp.zeros(WIDTH), "bias": jnp.zeros(WIDTH)},
        "up": {"kernel": jnp.zeros((WIDTH, WIDTH)), "bias": jnp.zeros(WIDTH)},
    }
    return {f"block_{i}": block for i in range(DEPTH)}


def port(params: Any, x: jax.Array, eps_at: Collection[int] = (), tanh_at: int = -1) -> jax.Array:
    for i in range(DEPTH):
        p = params[f"block_{i}"]
        eps = 1e-6 if i in eps_at else 1e-5
        h = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + eps)  # eps
        h = h * p["norm"]["scale"] + p["norm"]["bias"]
        h = h @ p["up"]["kernel"] + p["up"]["bias"]
        x = x + jax.nn.gelu(h, approximate=i == tanh_at)  # gelu
    return x


def check(function: Any, **rest: Any) -> Report:
    given = {"template": template(), "dtypes": ["float64"], "finite_differences": False} | rest
    return parity.check(tower(), function, X, **sorted_arguments(given))


def test_a_right_port_has_no_place() -> None:
    report = check(port)
    assert report.verdict is Verdict.PASS
    assert report.divergences == ()


def test_a_fault_of_a_millionth_is_placed_in_the_sixth_of_twelve_layers() -> None:
    report = check(lambda params, x: port(params, x, eps_at=[5]))
    (fault,) = report.divergences
    assert fault.reference[0].module == "5.norm"
    assert fault.candidate[0].code.endswith("# eps")
    assert fault.cause is not None
    assert fault.cause.name == "epsilon"
    assert fault.cause.residual < 1e-12


def test_two_independent_faults_are_both_found() -> None:
    report = check(lambda params, x: port(params, x, eps_at=[2], tanh_at=9))
    first, second = report.divergences
    assert (first.reference[0].module, first.candidate[0].code[-5:]) == ("2.norm", "# eps")
    assert (second.reference[0].module, second.candidate[0].code[-6:]) == ("9", "# gelu")
    assert [d.cause.name for d in (first, second) if d.cause] == ["epsilon", "activation"]


def test_the_same_fault_in_every_layer_is_listed_once_and_every_layer_named() -> None:
    report = check(lambda params, x: port(params, x, eps_at=range(0, DEPTH, 2)))
    (fault,) = once_each(report.divergences)
    assert [d.reference[0].module for d in fault] == [f"{i}.norm" for i in range(0, DEPTH, 2)]
    assert "also in" in str(report)
    assert report.findings == ()


def test_the_layer_inside_a_scan_with_remat() -> None:
    def stacked(params: Any, x: jax.Array) -> jax.Array:
        @jax.checkpoint
        def step(x: jax.Array, p: Any) -> tuple[jax.Array, None]:
            wrong = p["number"] == 7
            h = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
            h = h * p["norm"]["scale"] + p["norm"]["bias"]
            h = h @ p["up"]["kernel"] + p["up"]["bias"]
            h = jnp.where(wrong, jax.nn.silu(h), jax.nn.gelu(h, approximate=False))  # one of twelve
            return x + h, None

        return jax.lax.scan(step, x, {**params, "number": jnp.arange(DEPTH)})[0]

    leaves = template()["block_0"]
    layers = jax.tree.map(lambda leaf: jnp.zeros((DEPTH, *leaf.shape)), leaves)
    report = check(stacked, template=layers)
    fault = report.divergences[0]
    assert report.verdict is Verdict.FAIL
    assert fault.candidate[0].step == "scan step 7"
    assert fault.candidate[0].code.endswith("# one of twelve")
    assert fault.reference[0].module.startswith("7")


def test_a_promotion_in_bfloat16_is_a_fault_with_a_place() -> None:
    torch.manual_seed(1)  # of other weights the loss may cancel, and bfloat16 says nothing of it
    module = nn.Linear(12, 6)

    def port(params: Any, x: jax.Array, wide: bool) -> jax.Array:
        scale = np.float32(1)
        x = x * jnp.asarray(scale, jnp.float32 if wide else x.dtype)  # promotes
        inside = jax.nn.softmax(x.astype(jnp.float32)).astype(x.dtype) * 0  # wide inside alone: no fault
        return (x + inside) @ params["kernel"] + params["bias"]

    def check(wide: bool) -> Report:
        return parity.check(
            module,
            lambda params, x: port(params, x, wide),
            {"x": np.random.default_rng(0).standard_normal((4, 12)).astype(np.float32)},
            weights=parity.Weights(template={"kernel": jnp.zeros((12, 6)), "bias": jnp.zeros(6)}),
            settings=parity.Settings(dtypes=["float64", "bfloat16"]),
        )

    assert check(False).verdict is Verdict.PASS
    report = check(True)
    (fault,) = report.divergences
    assert (fault.kind, fault.candidate[0].code[-10:]) == ("dtype", "# promotes")
    assert [q.name for q in report.failures()] == ["output"]
