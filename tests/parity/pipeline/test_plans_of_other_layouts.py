"""Right ports whose weights lie as published code has them: experts, heads, patches, adapters, scans.

Each needs a plan that is not the first one; each has a wrong twin, which no plan may excuse.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import nn

import parity
from parity.report.kinds import CauseKind
from parity.report.results import Report, Verdict
from parity.weights import Plan, Signature, Use, find_plan
from parity.weights.alternatives import alternatives
from parity.weights.evidence import signatures
from parity.weights.transfer import Transfer
from tests.kit.inputs import normal
from tests.kit.weights import randomise, shapes

Apply = Callable[..., jax.Array]

QUICK = parity.Settings(finite_differences=False, localise=False)

WIDTH, INNER, EXPERTS = 6, 5, 4


def checked(module: nn.Module, apply: Apply, template: Any, **inputs: Any) -> Report:
    weights = parity.Weights(template=shapes(template))
    return parity.check(randomise(module), apply, inputs, weights=weights, settings=QUICK)


class Expert(nn.Module):
    """A gated layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(WIDTH, INNER, bias=False) for _ in range(2))
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


class Mixture(nn.Module):
    """Experts, all weighted."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, EXPERTS, bias=False)
        self.experts = nn.ModuleList(Expert() for _ in range(EXPERTS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = torch.stack([expert(x) for expert in self.experts], -2)
        return (torch.softmax(self.router(x), -1)[..., None] * parts).sum(-2)


def mixture(slope: float) -> Apply:
    """The same with gates and ups in turn, as GPT-OSS holds them."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        both = jnp.einsum("ti,eif->tef", x, p["gate_up_proj"])
        gate, up = both[..., ::2], both[..., 1::2]
        parts = jnp.einsum("tef,efo->teo", gate * jax.nn.sigmoid(slope * gate) * up, p["down_proj"])
        return jnp.einsum("te,teo->to", jax.nn.softmax(x @ p["router"]), parts)

    return apply


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, Verdict.PASS), (1.1, Verdict.FAIL)])
def test_gates_and_ups_in_turn_in_every_expert_of_a_stack(slope: float, verdict: Verdict) -> None:
    report = checked(Mixture(), mixture(slope), EXPERTS_IN_ONE, x=normal(8, WIDTH))
    assert report.verdict is verdict, report
    assert "`gate_up_proj`: its parts lie row by row" in str(report)


class Across(nn.Module):
    """Attention from one sequence to another."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 3, batch_first=True)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        return x + self.attention(x, memory, memory, need_weights=False)[0]


def across(size: float) -> Apply:
    """The same with kernels of (size, heads, width): a head's numbers lie apart."""

    def apply(p: Any, x: jax.Array, memory: jax.Array) -> jax.Array:
        def made(given: jax.Array, name: str) -> jax.Array:
            own = p[name]
            return jnp.einsum("bti,khi->bhtk", given, own["w"]) + own["b"].T[:, None]

        query, key, value = made(x, "query"), made(memory, "key"), made(memory, "value")
        weights = jax.nn.softmax(query @ key.swapaxes(2, 3) / size**0.5)
        return x + jnp.einsum("bhts,bhsk,khi->bti", weights, value, p["out"]["w"]) + p["out"]["b"]

    return apply


@pytest.mark.parametrize(("size", "verdict"), [(2.0, Verdict.PASS), (3.0, Verdict.FAIL)])
def test_queries_keys_and_values_that_lie_otherwise_alike(size: float, verdict: Verdict) -> None:
    """Where queries alone were laid otherwise, no score would be the reference's."""
    template: dict[str, Any] = {name: {"w": (2, 3, 6), "b": (2, 3)} for name in ("query", "key", "value")}
    template["out"] = {"w": (2, 3, 6), "b": (6,)}
    given = {"x": normal(2, 5, 6), "memory": normal(2, 4, 6, seed=1)}
    assert checked(Across(), across(size), template, **given).verdict is verdict


class Unpatched(nn.Module):
    """Patches of 2 x 2 pixels with three channels, channels last, and back to an image."""

    def __init__(self) -> None:
        super().__init__()
        self.proj, self.unproj = nn.Linear(12, 10), nn.Linear(10, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cut = x.view(-1, 3, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, 12)
        new = self.unproj(torch.relu(self.proj(cut)))
        return new.view(-1, 2, 2, 2, 2, 3).permute(0, 5, 1, 3, 2, 4).reshape(-1, 3, 4, 4)


def unpatched(floor: float) -> Apply:
    """The same with channels first in every patch."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        cut = x.reshape(-1, 3, 2, 2, 2, 2).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 4, 12)
        hidden = jnp.maximum(cut @ p["proj"]["kernel"] + p["proj"]["bias"], floor)
        new = hidden @ p["unproj"]["kernel"] + p["unproj"]["bias"]
        return new.reshape(-1, 2, 2, 3, 2, 2).transpose(0, 3, 1, 4, 2, 5).reshape(-1, 3, 4, 4)

    return apply


@pytest.mark.parametrize(("floor", "verdict"), [(0.0, Verdict.PASS), (0.1, Verdict.FAIL)])
def test_patches_in_another_order_going_in_and_coming_out(floor: float, verdict: Verdict) -> None:
    """No value inside is another one once the first kernel is right: the output alone has another order."""
    template = {
        "proj": {"kernel": (12, 10), "bias": (10,)},
        "unproj": {"kernel": (10, 12), "bias": (12,)},
    }
    assert checked(Unpatched(), unpatched(floor), template, x=normal(2, 3, 4, 4)).verdict is verdict


class Adapted(nn.Module):
    """A layer with an adapter of low rank."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(6, 6)
        self.A, self.B = nn.Parameter(torch.zeros(2, 6)), nn.Parameter(torch.zeros(6, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + x @ self.A.T @ self.B.T


class Weighed(nn.Module):
    """Queries and values of an attention are adapted."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = Adapted(), nn.Linear(6, 6), Adapted()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.query(x) @ self.key(x).transpose(1, 2), -1) @ self.value(x)


def weighed(scale: float) -> Apply:
    """The same, both adapters in one array."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        query, key, value = jnp.einsum("bti,cio->cbto", x, p["base"]) + p["bias"][:, None, None]
        more = scale * jnp.einsum("bti,cir,cro->cbto", x, p["lora_a"], p["lora_b"])
        return jax.nn.softmax((query + more[0]) @ key.swapaxes(1, 2)) @ (value + more[1])

    return apply


@pytest.mark.parametrize(("scale", "verdict"), [(1.0, Verdict.PASS), (2.0, Verdict.FAIL)])
def test_two_adapters_whose_rank_is_as_large_as_their_number(scale: float, verdict: Verdict) -> None:
    """Shapes leave open which axis counts the adapters."""
    assert checked(Weighed(), weighed(scale), ADAPTERS, x=normal(2, 4, 6)).verdict is verdict


EXPERTS_IN_ONE = {
    "router": (WIDTH, EXPERTS),
    "gate_up_proj": (EXPERTS, WIDTH, 2 * INNER),
    "down_proj": (EXPERTS, INNER, WIDTH),
}

ADAPTERS = {"base": (3, 6, 6), "bias": (3, 6), "lora_a": (2, 6, 2), "lora_b": (2, 2, 6)}


@pytest.mark.parametrize(
    ("module", "apply", "template", "x", "cause"),
    [
        (Mixture, mixture(1.1), EXPERTS_IN_ONE, normal(8, WIDTH), CauseKind.ACTIVATION),
        (Weighed, weighed(2.0), ADAPTERS, normal(2, 4, 6), CauseKind.SCALE),
    ],
)
def test_a_fault_beside_weights_that_lie_otherwise_is_named(
    module: type[nn.Module], apply: Apply, template: Any, x: Any, cause: CauseKind
) -> None:
    """The plan goes as far as the two agree, so that what is left is the port's own."""
    weights = parity.Weights(template=shapes(template))
    settings = parity.Settings(finite_differences=False)
    report = parity.check(randomise(module()), apply, {"x": x}, weights=weights, settings=settings)
    (divergence,) = report.divergences
    assert divergence.cause is not None, report
    assert divergence.cause.name is cause, divergence


class Deep(nn.Module):
    """A residual network of five layers."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"norm": nn.RMSNorm(6, 1e-6), "up": nn.Linear(6, 5), "down": nn.Linear(5, 6)})
            for _ in range(5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block["down"](torch.tanh(block["up"](block["norm"](x))))
        return x


ONE_LAYER: dict[str, Any] = {
    "norm": (6,),
    "up": {"kernel": (6, 5), "bias": (5,)},
    "down": {"kernel": (5, 6), "bias": (6,)},
}


def stacked(axis: int) -> Any:
    """Shapes of five layers along an axis."""
    return jax.tree.map(
        lambda shape: (*shape[:axis], 5, *shape[axis:]), ONE_LAYER, is_leaf=lambda a: isinstance(a, tuple)
    )


def layer(x: jax.Array, p: Any, epsilon: float = 1e-6) -> jax.Array:
    """One layer of `Deep`."""
    norm = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + epsilon) * p["norm"]
    hidden = jnp.tanh(norm @ p["up"]["kernel"] + p["up"]["bias"])
    return x + hidden @ p["down"]["kernel"] + p["down"]["bias"]


def at(p: Any, index: Any) -> Any:
    """One layer's weights."""
    return jax.tree.map(lambda a: a[index], p)


def deep(axis: int, epsilon: float) -> Apply:
    """The same as a scan whose layers lie along an axis: T5X and MaxText scan along the second one."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        layers = jax.tree.map(lambda a: jnp.moveaxis(a, axis, 0), p)
        return jax.lax.scan(lambda x, own: (layer(x, own, epsilon), None), x, layers)[0]

    return apply


def unrolled(p: Any, x: jax.Array) -> jax.Array:
    """The same as a loop of Python's."""
    for index in range(5):
        x = layer(x, at(p, index))
    return x


def counted(p: Any, x: jax.Array) -> jax.Array:
    """The same as a loop that counts."""
    return jax.lax.fori_loop(0, 5, lambda index, x: layer(x, at(p, index)), x)


def backwards(p: Any, x: jax.Array) -> jax.Array:
    """The last layer first: wrong."""
    return jax.lax.scan(lambda x, own: (layer(x, own), None), x, p, reverse=True)[0]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("epsilon", "verdict"), [(1e-6, Verdict.PASS), (1e-2, Verdict.FAIL)])
def test_a_scan_whose_layers_lie_along_either_axis(axis: int, epsilon: float, verdict: Verdict) -> None:
    """Its weights are of no common module: what each holds is still one loop's."""
    assert checked(Deep(), deep(axis, epsilon), stacked(axis), x=normal(3, 6)).verdict is verdict


@pytest.mark.parametrize(
    ("loop", "verdict"), [(unrolled, Verdict.PASS), (counted, Verdict.PASS), (backwards, Verdict.FAIL)]
)
def test_layers_of_a_stack_in_other_loops(loop: Apply, verdict: Verdict) -> None:
    """The layers of a stack are not exchanged to make a loop right that runs the wrong way."""
    assert checked(Deep(), loop, stacked(0), x=normal(3, 6)).verdict is verdict


def test_a_loop_that_runs_the_wrong_way_is_named() -> None:
    """The plan stays what the places in the stack say, so that the cause is the loop's."""
    weights = parity.Weights(template=shapes(stacked(0)))
    settings = parity.Settings(finite_differences=False)
    report = parity.check(
        randomise(Deep()), backwards, {"x": normal(3, 6)}, weights=weights, settings=settings
    )
    cause = report.divergences[0].cause
    assert cause is not None, report
    assert cause.name is CauseKind.RECURRENCE, cause
    assert "runs from the other end" in cause.text, cause


def encoded_and_decoded(p: Any, x: jax.Array) -> jax.Array:
    """Two loops, one behind the other, whose weights lie side by side in one tree."""

    def loop(x: jax.Array, own: Any) -> jax.Array:
        return jax.lax.scan(lambda x, own: (layer(x, own), None), x, own)[0]

    first, second = ({name: p[f"{side}_{name}"] for name in ONE_LAYER} for side in ("a", "b"))
    return loop(jnp.sin(loop(x, first)), second)


def test_two_loops_of_as_many_layers() -> None:
    """Use alone says which loop a stack is of."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Deep(), Deep()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.sin(self.first(x)))

    template = {f"{side}_{name}": shape for side in ("a", "b") for name, shape in stacked(0).items()}
    assert checked(Pair(), encoded_and_decoded, template, x=normal(3, 6)).verdict is Verdict.PASS


def test_packs_in_a_stack_along_the_second_axis() -> None:
    """Each part of a layer's pack lies in its own block of the layer."""
    tensors = {
        f"h.{i}.{name}_proj.weight": Signature((4, 8), "Linear", Use(10 * i + n, "matmul", (1,)))
        for i in range(2)
        for n, name in enumerate(("q", "k", "v"))
    }
    plan = find_plan(tensors, {"qkv": Signature((8, 2, 12), "", Use(0, "matmul", (0,)))})
    for transfer in plan.transfers:
        (_, layer, name, _) = transfer.tensor_name.replace("_", ".").split(".")[:4]
        start = 4 * "qkv".index(name)
        assert transfer.box()[1:] == (range(int(layer), int(layer) + 1), range(start, start + 4)), plan


def test_a_joined_kernel_whose_gates_lie_apart() -> None:
    """The input's and the state's rows of (inputs + state, gates, units)."""
    tensors = {
        "lstm.weight_ih_l0": Signature((16, 8), "LSTM"),
        "lstm.weight_hh_l0": Signature((16, 4), "LSTM"),
    }
    plan = find_plan(tensors, {"cell": (12, 4, 4)})
    rows = {t.tensor_name: t.box()[0] for t in plan.transfers}
    assert rows == {"lstm.weight_ih_l0": range(8), "lstm.weight_hh_l0": range(8, 12)}, plan


@pytest.mark.parametrize(
    ("tensor", "leaves", "lengths"),
    [
        (Signature((11, 12), "Linear"), {"dt": (12, 3), "b": (12, 4), "c": (12, 4)}, [3, 4, 4]),
        (Signature((11, 12), "Linear"), {"latent": (12, 8), "rope": (12, 3)}, [3, 8]),
        (Signature((1, 3, 8)), {"target": (3, 4), "source": (3, 4)}, [4, 4]),
    ],
)
def test_a_pack_in_leaves_of_other_lengths(tensor: Signature, leaves: Any, lengths: list[int]) -> None:
    """A state space's step and matrices, a latent and a rotated key, the two halves of a vector of a GAT."""
    plan = find_plan({"pack": tensor}, leaves, try_plan=lambda plan: 1.0)  # which is which, running says
    assert {t.leaf_path: t.tensor_name for t in plan.transfers} == dict.fromkeys(leaves, "pack"), plan
    taken = [t.take[-1] for t in plan.transfers]
    assert sorted(part.stop - part.start for part in taken if isinstance(part, slice)) == lengths, plan


@pytest.mark.parametrize(
    ("kind", "tensors", "leaf", "axis"),
    [
        ("Embedding", [(5, 4), (3, 4), (7, 4)], (15, 4), 0),
        ("Embedding", [(5, 1), (3, 1), (7, 1)], (15,), 0),
        ("Linear", [(2, 6), (3, 6), (3, 6), (1, 6)], (6, 9), 1),
    ],
)
def test_layers_of_a_series_in_one_array(kind: str, tensors: Any, leaf: Any, axis: int) -> None:
    """Tables of categories one behind the other, found by offsets; heads of several tasks."""
    plan = find_plan(
        {f"own.{i}.weight": Signature(shape, kind) for i, shape in enumerate(tensors)}, {"a": leaf}
    )
    start = 0
    for transfer, shape in zip(sorted(plan.transfers, key=lambda t: t.tensor_name), tensors, strict=True):
        assert transfer.box()[axis] == range(start, start + shape[0]), plan
        start += shape[0]


@pytest.mark.parametrize("flip", [(), (0, 1)])
def test_a_transposed_convolution_may_run_either_way(flip: tuple[int, ...]) -> None:
    """A kernel that is summed by hand lies as PyTorch's; one of `conv_transpose` runs backwards."""
    transfer = Transfer("up.weight", "up", (4, 3, 2, 2), (2, 2, 4, 3), axes=(2, 3, 0, 1), flip=flip)
    tensors = {"up.weight": Signature((4, 3, 2, 2), "ConvTranspose2d")}
    plan = Plan((transfer,))
    turned = [
        option.plan.transfers[0].flip
        for option in alternatives(plan, ["up"], tensors, signatures({"up": (2, 2, 4, 3)}))
        if option.plan.transfers[0].axes == transfer.axes and "run" in option.text
    ]
    assert turned == [() if flip else (0, 1)]
