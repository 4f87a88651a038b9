"""What is read in the place of something else: another call, another layer, another half, another input."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, named_fault, numbers, report_of

WEIGHTS = {
    "f/w": numbers(4, 4),
    "f/b": numbers(4),
    "g/w": numbers(4, 4, seed=1),
    "g/b": numbers(4, seed=1),
    "out": numbers(4, 3),
    "film": numbers(4, 8),
}
X, Y = numbers(2, 5, 4), numbers(2, 5, 4, seed=1)


class Torch:
    """The reference's functions of the weights, whose names have a dot there."""

    def __init__(self, p: Any) -> None:
        self.p = {name.replace("_", "/"): value for name, value in p.items()}

    def layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.p[f"{name}/w"] + self.p[f"{name}/b"]


def layer(p: Any, name: str, x: jax.Array) -> jax.Array:
    return x @ p[f"{name}/w"] + p[f"{name}/b"]


def given(*names: str) -> dict[str, np.ndarray]:
    return {name: WEIGHTS[name] for name in names}


def checked(reference: Any, candidate: Any, names: tuple[str, ...], *inputs: np.ndarray) -> Any:
    """The report on two functions of some weights, whose names in PyTorch have "_" for "/"."""
    params = {name.replace("/", "_"): WEIGHTS[name] for name in names}
    template = {name: jax.ShapeDtypeStruct(WEIGHTS[name].shape, np.float32) for name in names}
    pins = {name.replace("/", "_"): name for name in names}
    return report_of(reference, candidate, params, *inputs, template=template, pins=pins)


def twice(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    first = encoded(p, x)
    second = encoded(p, x)  # the second call's line
    return jnp.einsum("bid,bjd->bij", first, second) @ jnp.ones((5, 1))


def encoded(p: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(layer(p, "f", x))


def test_a_call_that_gets_what_another_call_got_is_the_place() -> None:
    def reference(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        first, second = (torch.tanh(Torch(p).layer("f", v)) for v in (x, y))
        return torch.einsum("bid,bjd->bij", first, second) @ torch.ones(5, 1, dtype=x.dtype)

    report = checked(reference, twice, ("f/w", "f/b"), X, Y)
    (divergence, *_) = report.divergences
    assert any("second = encoded" in place.code for place in divergence.candidate), str(report)
    assert divergence.cause is not None
    assert "JAX reads the input input_0 where PyTorch reads the input input_1" in divergence.cause.text


def test_weights_of_another_layer_are_named_together() -> None:
    def reference(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.tanh(Torch(p).layer("f", x)) * torch.tanh(Torch(p).layer("g", y))

    def candidate(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.tanh(layer(p, "f", x)) * jnp.tanh(layer(p, "f", y))

    report = checked(reference, candidate, ("f/w", "f/b", "g/w", "g/b"), X, Y)
    cause = report.divergences[0].cause
    assert cause is not None
    assert cause.name == "swapped weights", cause
    assert "f/w and f/b where those of g belong" in cause.text, cause.text


def test_halves_that_are_fitted_into_other_shapes_are_exchanged() -> None:
    def reference(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        scale, shift = (y[:, 0] @ p["film"]).chunk(2, -1)
        return x * (1 + scale[:, None]) + shift[:, None]

    def candidate(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        shift, scale = jnp.split(y[:, 0] @ p["film"], 2, axis=-1)
        return x * (1 + scale[:, None]) + shift[:, None]

    cause = cause_of(reference, candidate, given("film"), X, Y)
    assert cause is not None
    assert cause.name == "packed order", cause
    assert "exchanged" in cause.text


def test_a_value_read_for_an_earlier_one_is_no_exchange() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = x + torch.tanh(x @ p["f"])
        return h + h / h.square().mean(-1, keepdim=True).sqrt()

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        h = x + jnp.tanh(x @ p["f"])
        return h + x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True))

    cause = cause_of(reference, candidate, {"f": WEIGHTS["f/w"]}, X)
    assert cause is not None
    assert "exchanged" not in cause.text, cause.text


def test_an_input_that_is_never_read_is_named() -> None:
    def reference(p: Any, x: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        return x + p["out"].T[kinds]

    def candidate(p: Any, x: jax.Array, kinds: jax.Array) -> jax.Array:
        return x + p["out"].T[jnp.zeros(kinds.shape, int)]

    kinds = np.random.default_rng(0).integers(0, 3, (2, 5))
    report = report_of(reference, candidate, given("out"), X, kinds)
    assert any("JAX never reads the input input_1" in finding for finding in report.findings), str(report)
    cause = report.divergences[0].cause
    assert cause is not None
    assert "reads the input input_1 there" in cause.text, cause


@pytest.mark.parametrize("after", [True, False])
def test_a_square_on_the_other_side_of_a_mean(after: bool) -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = x @ p["out"]
        return h.square().mean(1) if after else h.mean(1).square()

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        h = x @ p["out"]
        return jnp.square(h.mean(1)) if after else jnp.square(h).mean(1)

    cause = cause_of(reference, candidate, given("out"), X)
    assert cause is not None
    assert cause.name in ("order", "reduction"), cause
    if cause.name == "order":
        assert "square" in cause.text


def test_an_end_that_is_filled_on_one_side() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = x @ p["f"]
        return torch.tanh(h) * torch.nn.functional.pad(h, (0, 0, 1, -1))

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        h = x @ p["f"]
        return jnp.tanh(h) * jnp.roll(h, 1, axis=1)

    cause = cause_of(reference, candidate, {"f": WEIGHTS["f/w"]}, X)
    assert cause is not None
    assert cause.name == "padding", cause
    assert "first 1 of 5 entries along axis 1 are 0" in cause.text


def test_a_scale_of_a_root_is_no_sum_for_a_mean() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = x / x.square().mean(-1, keepdim=True).sqrt()
        return (h / 2) @ p["out"]

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        h = x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True))
        return h @ p["out"]

    cause = cause_of(reference, candidate, given("out"), X)
    assert cause is not None
    assert cause.name == "scale", cause


def test_the_condition_of_an_activation_is_no_mask() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = x @ p["f"]
        h = h - h.mean(0)
        return torch.where(h > 0, h, 0.3 * h)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        h = x @ p["f"]
        h = jnp.where(h > 0, h, 0.3 * h)
        return h - h.mean(0)

    cause = cause_of(reference, candidate, {"f": WEIGHTS["f/w"]}, X)
    assert cause is None or cause.name != "mask", cause


def test_the_line_that_unpacks_an_input_is_listed() -> None:
    def reference(p: Any, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        source, goal = edges[0], edges[1]
        return torch.zeros_like(x).index_add(0, goal, torch.relu(x[source] @ p["f"] - x[goal]))

    def candidate(p: Any, x: jax.Array, edges: jax.Array) -> jax.Array:
        goal, source = edges
        return jnp.zeros_like(x).at[goal].add(jax.nn.relu(x[source] @ p["f"] - x[goal]))

    edges = np.random.default_rng(0).integers(0, 5, (2, 9))
    report = report_of(reference, candidate, {"f": WEIGHTS["f/w"]}, X[0], edges)
    assert any("goal, source = edges" in p.code for p in report.divergences[0].candidate), str(report)


DEEP = 12
BLOCKS = {
    f"{kind}{number}": numbers(*shape, seed=number)
    for number in range(DEEP)
    for kind, shape in {"in": (4, 4), "out": (4, 4), "bias": (4,), "shift": (4,)}.items()
}


def test_what_the_fault_reads_is_tried_though_much_is_read_behind_it() -> None:
    """What the blocks of a network give comes together at the end, behind many other operands."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        inner = torch.tanh(x @ p["in0"])
        given = [inner @ p["out0"]]
        x = x + inner
        for number in range(1, DEEP):
            x = x + torch.tanh(x @ p[f"in{number}"] + p[f"bias{number}"])
            given.append(x @ p[f"out{number}"] + p[f"shift{number}"])
        return torch.cat(given, -1).sin()

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        inner = jnp.tanh(x @ p["in0"])
        x = x + inner
        given = [x @ p["out0"]]  # FAULT
        for number in range(1, DEEP):
            x = x + jnp.tanh(x @ p[f"in{number}"] + p[f"bias{number}"])
            given.append(x @ p[f"out{number}"] + p[f"shift{number}"])
        return jnp.sin(jnp.concatenate(given, -1))

    cause = named_fault(report_of(reference, candidate, BLOCKS, numbers(5, 4)))
    assert cause.name is CauseKind.OPERANDS, cause
    assert "the tanh of line" in cause.text, cause


def test_one_gate_for_all_layers_is_named_at_the_first_that_it_is_wrong_in() -> None:
    """Each layer reads weight and bias of the first: those of its own are named, not of a later one."""
    shapes = {"w": (4, 4), "b": (4,)}
    gates = {
        f"{kind}{n}/{name}": numbers(*shape, seed=n)
        for kind in ("gate", "layer")
        for n in range(3)
        for name, shape in shapes.items()
    }

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        for number in range(3):
            gate = torch.sigmoid(x @ p[f"gate{number}/w"] + p[f"gate{number}/b"])
            x = gate * torch.relu(x @ p[f"layer{number}/w"] + p[f"layer{number}/b"]) + (1 - gate) * x
        return x

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        for number in range(3):
            gate = jax.nn.sigmoid(x @ p["gate0/w"] + p["gate0/b"])  # FAULT
            x = x + gate * (jax.nn.relu(x @ p[f"layer{number}/w"] + p[f"layer{number}/b"]) - x)
        return x

    cause = named_fault(report_of(reference, candidate, gates, numbers(5, 4)))
    assert cause.name is CauseKind.SWAPPED_WEIGHTS, cause
    assert "gate1" in cause.text, cause


def decayed_in_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A weighted mean of the past and of the present, with a state of two sums."""
    total, count = torch.zeros_like(x[0]), torch.zeros_like(x[0])
    outputs = []
    for own in x:
        weight = torch.exp(own)
        outputs.append((total + 2 * weight * own) / (count + 2 * weight))
        total, count = p["w"] * total + weight * own, p["w"] * count + weight
    return torch.stack(outputs)


def decayed(p: Any, x: jax.Array) -> jax.Array:
    """The same, both sums read after they are updated."""

    def step(state: Any, own: jax.Array) -> Any:
        weight = jnp.exp(own)
        total = p["w"] * state[0] + weight * own
        count = p["w"] * state[1] + weight
        return (total, count), (total + 2 * weight * own) / (count + 2 * weight)  # FAULT

    return jax.lax.scan(step, (jnp.zeros_like(x[0]), jnp.zeros_like(x[0])), x)[1]


def test_two_states_that_are_read_after_their_update() -> None:
    report = report_of(decayed_in_torch, decayed, {"w": np.float32(0.5) + 0 * numbers(3)}, numbers(5, 3))
    cause = named_fault(report)
    assert cause.name is CauseKind.OPERANDS, cause
    assert cause.text.count("of an earlier step in JAX") == 2, cause


def field_in_torch(p: Any, y: torch.Tensor) -> torch.Tensor:
    return torch.tanh(y @ p["w"])


def stepped_in_torch(p: Any, y: torch.Tensor) -> torch.Tensor:
    """Three stages of a Runge-Kutta method."""
    first = field_in_torch(p, y)
    second = field_in_torch(p, y + 0.5 * first)
    return y + field_in_torch(p, y + 0.75 * second)


def field(p: Any, y: jax.Array) -> jax.Array:
    return jnp.tanh(y @ p["w"])


def stepped(slope: Any, y: jax.Array) -> jax.Array:
    first = slope(y)
    second = slope(y + 0.5 * first)
    return y + slope(y + 0.75 * first) + 0 * second  # FAULT


def test_calls_of_one_line_through_a_lambda_are_told_apart() -> None:
    def candidate(p: Any, y: jax.Array) -> jax.Array:
        return stepped(lambda y: field(p, y), y)

    cause = named_fault(report_of(stepped_in_torch, candidate, {"w": numbers(4, 4)}, numbers(5, 4)))
    assert "()" not in cause.text, cause
    assert cause.text.count("(called from line ") == 2, cause


HEADS = 4
GROUPED = {"q": numbers(8, 8), "k": numbers(8, 4, seed=1), "v": numbers(8, 4, seed=2)}


def grouped_in_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Queries of four heads, keys and values of two: each is read by two heads that follow each other."""
    query, *others = ((x @ p[name]).unflatten(-1, (-1, 2)).transpose(1, 2) for name in ("q", "k", "v"))
    key, value = (own.repeat_interleave(2, 1) for own in others)
    return torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def grouped(p: Any, x: jax.Array) -> jax.Array:
    """The same, but for the heads that read each key and value."""
    query, *others = ((x @ p[name]).reshape(2, 5, -1, 2) for name in ("q", "k", "v"))
    key, value = (jnp.tile(own, (1, 1, 2, 1)) for own in others)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / jnp.sqrt(jnp.asarray(2, x.dtype))
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), value)


def test_heads_that_are_repeated_as_a_whole() -> None:
    cause = cause_of(grouped_in_torch, grouped, GROUPED, numbers(2, 5, 8))
    assert cause is not None
    assert "repeats each entry 2 times along axis" in cause.text, cause


STEPS = {"a": 1 + numbers(3) ** 2, "b": 1 + numbers(3, seed=1) ** 2}


def flow_in_torch(p: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two layers of a flow on five pixels, and the logarithm of their determinant."""
    total = torch.zeros((), dtype=x.dtype)
    for name in ("a", "b"):
        x, more = torch.tanh(x * p[name]), 5 * torch.log(p[name]).sum()
        total = total + 5 * torch.sin(p[name]).sum() + more
    return x, total


def scaled(scale: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.tanh(x * scale), jnp.log(scale).sum()  # FAULT


def flow(p: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    total = jnp.zeros((), x.dtype)
    for name in ("a", "b"):
        x, more = scaled(p[name], x)
        total = total + 5 * jnp.sin(p[name]).sum() + more
    return x, total


def test_a_number_that_is_not_multiplied_in_any_of_its_runs() -> None:
    cause = named_fault(report_of(flow_in_torch, flow, STEPS, numbers(2, 5, 3)))
    assert cause.name is CauseKind.SCALE, cause
    assert "by 5" in cause.text, cause
