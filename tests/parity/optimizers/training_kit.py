"""One small network trained in both frameworks, step by step, for the yardstick to judge."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Subject, Values, measure
from parity.numerics.precision import pinned, running, running_torch
from parity.numerics.yardstick import judge_quantities
from parity.optimizers import state_from_torch, state_to_torch, to_optax
from parity.optimizers.groups import name_of
from parity.optimizers.optax_slots import slots_of
from parity.report.quantities import Quantity
from parity.weights import Plan, Transfer

PLAN = Plan(
    (
        Transfer("0.weight", "hidden/kernel", (5, 4), (4, 5), axes=(1, 0)),
        Transfer("0.bias", "hidden/bias", (5,), (5,)),
        Transfer("2.weight", "head/kernel", (3, 5), (5, 3), axes=(1, 0)),
        Transfer("2.bias", "head/bias", (3,), (3,)),
    )
)
STEPS = 200

Build = Callable[[torch.nn.Sequential], torch.optim.Optimizer]
Schedule = Callable[[torch.optim.Optimizer], Any]


def network() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def drawn(steps: int = STEPS) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights, and the batches of all steps; the targets are what another network says, with noise."""
    rng = np.random.default_rng(7)
    weights = {
        t.tensor_name: rng.standard_normal(t.tensor_shape).astype(np.float32) / 2 for t in PLAN.transfers
    }
    x = rng.standard_normal((steps, 6, 4)).astype(np.float32)
    y = np.tanh(x @ rng.standard_normal((4, 3))) + 0.1 * rng.standard_normal((steps, 6, 3))
    return weights, {"x": x, "y": y.astype(np.float32)}


def tree(leaves: dict[str, Any]) -> dict[str, dict[str, Any]]:
    params: dict[str, dict[str, Any]] = {}
    for path, leaf in leaves.items():
        layer, name = path.split("/")
        params.setdefault(layer, {})[name] = jnp.asarray(leaf)
    return params


def loss(params: Any, x: Any, y: Any) -> Any:
    hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return jnp.mean((hidden @ params["head"]["kernel"] + params["head"]["bias"] - y) ** 2)


def started(build: Build, weights: dict[str, np.ndarray], dtype: str) -> tuple[Any, torch.optim.Optimizer]:
    module = network().to(getattr(torch, dtype))
    module.load_state_dict({name: torch.from_numpy(np.array(w, dtype)) for name, w in weights.items()})
    return module, build(module)


def torch_steps(
    module: Any, optimizer: Any, scheduler: Any, inputs: dict[str, Any], dtype: str, every: int, plateau: bool
) -> Values:
    weights: dict[str, list[np.ndarray]] = {}
    slots: dict[str, list[np.ndarray]] = {}
    for number, (x, y) in enumerate(zip(inputs["x"], inputs["y"], strict=True)):
        optimizer.zero_grad()
        x, y = (torch.from_numpy(np.array(a, dtype)) for a in (x, y))
        value = torch.mean((module(x) - y) ** 2)
        value.backward()
        if isinstance(optimizer, torch.optim.SparseAdam):
            for p in module.parameters():
                p.grad = p.grad.to_sparse()
        optimizer.step()
        if scheduler is not None and (number + 1) % every == 0:
            scheduler.step(*([float(value.detach())] if plateau else []))
        for name, p in module.named_parameters():
            weights.setdefault(name, []).append(p.detach().numpy().astype(np.float64))
            for slot, held in optimizer.state[p].items():
                if slot != "step" and held is not None:
                    slots.setdefault(f"{name}.{slot}", []).append(held.double().numpy().copy())
    return {
        "weights": {name: np.stack(values) for name, values in weights.items()},
        "slots": {name: np.stack(values) for name, values in slots.items()},
    }


def subjects(
    build: Build, schedule: Schedule | None = None, every: int = 1, steps: int = STEPS
) -> tuple[Subject, Subject, dict[str, np.ndarray]]:
    """The PyTorch run, and the same with `to_optax`, as programs that return weights and slots over time."""
    weights, inputs = drawn(steps)

    def in_torch(weights: Any, inputs: Any, dtype: str) -> Values:
        with running_torch(dtype):
            module, optimizer = started(build, weights, dtype)
            scheduler = schedule(optimizer) if schedule else None
            plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            return torch_steps(module, optimizer, scheduler, inputs, dtype, every, plateau)

    def compiled(dtype: str) -> Any:
        module, optimizer = started(build, weights, dtype)
        scheduler = schedule(optimizer) if schedule else None
        return *translated_run(module, optimizer, scheduler, every), name_of(type(optimizer))

    runs: dict[str, Any] = {}

    def in_jax(weights: Any, inputs: Any, dtype: str) -> Values:
        with running(dtype, "cpu"):
            if dtype not in runs:
                runs[dtype] = compiled(dtype)
            translated, run, kind = runs[dtype]
            params = tree(PLAN.to_leaves({name: np.array(w, dtype) for name, w in weights.items()}))
            batches = (jnp.asarray(np.array(inputs[name], dtype)) for name in "xy")
            _, (params, state) = run(params, translated.init(params), *batches)
            found, _ = slots_of(state, kind, PLAN)
            return {
                "weights": {
                    t.tensor_name: np.stack(
                        [t.back(leaf) for leaf in np.asarray(_at(params, t.leaf_path), np.float64)]
                    )
                    for t in PLAN.transfers
                },
                "slots": {
                    f"{name}.{slot}": np.asarray(value, np.float64)
                    for name, slots in found.items()
                    for slot, value in slots.items()
                    if slot != "step"
                },
            }

    return Subject(in_torch, weights), Subject(in_jax, weights), inputs


def _at(params: Any, path: str) -> Any:
    for key in path.split("/"):
        params = params[key]
    return params


def handed_over(
    build: Build, schedule: Schedule | None = None
) -> tuple[Subject, Subject, dict[str, np.ndarray]]:
    """The PyTorch run, and one that goes to JAX at half of the steps and back at three quarters."""
    reference, _, inputs = subjects(build, schedule)
    half, late = STEPS // 2, 3 * STEPS // 4
    runs: dict[str, Any] = {}

    def there_and_back(weights: Any, inputs: Any, dtype: str) -> Values:
        with running_torch(dtype):
            module, optimizer = started(build, weights, dtype)
            scheduler = schedule(optimizer) if schedule else None
            parts = [
                {k: v[a:b] for k, v in inputs.items()} for a, b in ((0, half), (half, late), (late, STEPS))
            ]
            with running(dtype, "cpu"):
                if dtype not in runs:
                    runs[dtype] = translated_run(module, optimizer, scheduler, 1)
                translated, run = runs[dtype]
                first = torch_steps(module, optimizer, scheduler, parts[0], dtype, 1, False)
                params = tree(PLAN.to_leaves({k: w[-1].astype(dtype) for k, w in first["weights"].items()}))
                state = state_from_torch(optimizer, translated.init(params), PLAN, module=module, step=half)
                batches = (jnp.asarray(np.array(parts[1][name], dtype)) for name in "xy")
                (params, state), _ = run(params, state, *batches)
                leaves = {t.leaf_path: np.asarray(_at(params, t.leaf_path)) for t in PLAN.transfers}
                state_to_torch(state, optimizer, PLAN, module=module)
            module.load_state_dict(
                {k: torch.from_numpy(w.copy()) for k, w in PLAN.to_tensors(leaves).items()}
            )
            for _ in range(half, late):
                if scheduler is not None:
                    scheduler.step()
            return torch_steps(module, optimizer, scheduler, parts[2], dtype, 1, False)

    def straight(weights: Any, inputs: Any, dtype: str) -> Values:
        whole = reference.program(weights, inputs, dtype)
        return {group: {k: v[late:] for k, v in held.items()} for group, held in whole.items()}

    return reference._replace(program=straight), reference._replace(program=there_and_back), inputs


def translated_run(module: Any, optimizer: Any, scheduler: Any, every: int) -> tuple[Any, Any]:
    """`to_optax` of an optimiser, and the compiled steps with it: the last carry, and that of every step."""
    leaves = PLAN.to_leaves({name: p.detach().numpy() for name, p in module.named_parameters()})
    translated = to_optax(
        optimizer, tree(leaves), PLAN, module=module, scheduler=scheduler, updates_per_step=every
    )

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, *batch)
        updates, state = translated.update(grads, state, params, value=value)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state)

    return translated, jax.jit(lambda params, state, x, y: jax.lax.scan(step, (params, state), (x, y)))


def judged(reference: Subject, candidate: Subject, inputs: dict[str, np.ndarray]) -> list[Quantity]:
    """Weights and slots of all steps, judged in float64 and in float32."""
    dtypes = ("float64", "float32")
    with pinned(seed=0):
        measured = measure({"reference": reference, "candidate": candidate}, inputs, dtypes)
    scale = {name: float(np.abs(w).max()) for name, w in reference.weights.items()}
    rules = {
        "weights": Criterion("curve", over_time=True, scale=scale),
        "slots": Criterion("curve", over_time=True),
    }
    return judge_quantities(measured["reference"], measured["candidate"], rules)


def quantities(build: Build, schedule: Schedule | None = None, **options: Any) -> list[Quantity]:
    """Weights and slots of all steps, judged in float64 and in float32."""
    return judged(*subjects(build, schedule, **options))
