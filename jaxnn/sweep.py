"""Many training runs at once: starts, scales, weight decays and learning rates in one compiled program."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Shaped

from jaxnn import mesh as meshes
from jaxnn import training
from jaxnn.arguments import Apply, Measure, Params, Samples, prepare
from jaxnn.results import Sweep

__all__ = ["sweep"]

Values = Sequence[float | int] | ArrayLike
"""The values of one setting, shape (number of values,)."""


def sweep(
    apply: Apply,
    params: Params,
    train: tuple[ArrayLike, ArrayLike],
    val: tuple[ArrayLike, ArrayLike],
    *,
    learning_rates: Values,
    scales: Values = (1.0,),
    weight_decays: Values = (0.0,),
    loss: Measure,
    metrics: Mapping[str, Measure],
    optimizer: Callable[..., optax.GradientTransformation],
    epochs: int,
    batch_size: int | None = None,
    order: ArrayLike | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> Sweep:
    """Trains with every combination of start, scale, weight decay and learning rate, in one program.

    ``jax.vmap(model.init)(jax.random.split(key, S))`` gives S random starts. The combinations are laid
    out along one axis of runs, the learning rate changing fastest, then the decay, the scale, the start.

    A second sweep is compiled anew only where `jaxnn.fit` is, for another number of values or another
    `chunk`; and once for scales other than 1, and for decays other than 0, which are left out otherwise.

    Args:
        apply: As in `jaxnn.fit`, like all arguments that are not described here.
        params: Pytree of arrays with a leading axis of S, the starts.
        train: The data of all runs.
        val: The data of all runs.
        learning_rates: Step sizes, shape (R,).
        scales: Factors of all params of a start, shape (F,).
        weight_decays: Coupled L2 terms, shape (L,): a run with decay d descends the loss plus
            ``d / 2 |params|^2``, biases included. The recorded losses are without that term.
        loss: What is differentiated.
        metrics: What is recorded.
        optimizer: Called with each of the learning rates.
        epochs: Epochs of every run.
        batch_size: Samples per step of every run.
        order: Order of the samples in every run.
        chunk: How many runs are trained at once, the chunks one after another: less memory for the
            values on the way. None: all runs at once. With a mesh: on each device.
        mesh: `jaxnn.mesh.make()` deals the runs, any number of them, out over all devices of all processes.
            Each device has all samples, and nothing is exchanged before the end. None: one device.

    Returns:
        The params and the history of all runs, and the settings that they had; with a mesh whole on every
        device.

    Raises:
        ValueError: If an argument does not fit.

    Differs: The decay is ``weight_decay`` of ``torch.optim.SGD`` and ``Adam``, added to the gradient
    before the optimiser sees it, and not the decoupled one of AdamW, which is ``optax.adamw``.

    Source: notebook, exercises 1, 3 and 6.

    >>> import jax.numpy as jnp
    >>> square = lambda p, y: jnp.mean((p - y) ** 2)
    >>> x, y = jnp.ones((4, 1)), jnp.ones(4)
    >>> runs = sweep(lambda w, x: x @ w, jnp.zeros((2, 1)), (x, y), (x, y), learning_rates=[0.1, 0.25, 0.5],
    ...              loss=square, metrics={"loss": square}, optimizer=optax.sgd, epochs=4)
    >>> runs.history["val_loss"].shape
    (6, 4)
    """
    plan = training.Plan(apply, loss, tuple(metrics.items()), optimizer, epochs, batch_size)
    data = prepare(params, train, val, order, epochs=epochs, batch_size=batch_size, mesh=mesh)
    params = data[0]
    leaves = jax.tree.leaves(params)
    starts = {leaf.shape[:1] for leaf in leaves}
    if len(starts) != 1 or () in starts or (0,) in starts:
        raise ValueError(
            f"`params` has leaves of shapes {[leaf.shape for leaf in leaves]}: all must have the same "
            f"leading axis, the starts; stack them or map `init` over several keys."
        )
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise ValueError(f"`chunk` is {chunk!r}: it must be an integer of at least 1, or None for all runs.")
    settings = _grid(len(leaves[0]), scales, weight_decays, learning_rates)
    neutral = {"scale": 1.0, "weight_decay": 0.0}  # left out: no run is touched by what was not asked for
    used = {name: s for name, s in settings.items() if name not in neutral or np.any(s != neutral[name])}
    traced = {name: s.astype(np.int32 if name == "start" else leaves[0].dtype) for name, s in used.items()}
    num_runs = len(settings["start"])
    if mesh is None:
        trained, history = _run_all(plan, chunk, None, num_runs, traced, data)
    else:
        spread = {name: meshes.spread(values, mesh) for name, values in traced.items()}
        trained, history = _run_all(plan, chunk, mesh, num_runs, spread, meshes.replicate(data, mesh))
    return Sweep(trained, history, settings)


def _grid(
    num_starts: int, scales: Values, weight_decays: Values, learning_rates: Values
) -> dict[str, Shaped[np.ndarray, " runs"]]:
    """Returns the settings of all runs: every combination, the last setting changing fastest."""
    given = {"scales": scales, "weight_decays": weight_decays, "learning_rates": learning_rates}
    axes = {name: np.asarray(values, np.float64) for name, values in given.items()}
    faults = [
        f"`{name}` has shape {values.shape}: it must be ({name[0].upper()},), with at least one value."
        for name, values in axes.items()
        if values.ndim != 1 or values.size == 0
    ]
    if faults:
        raise ValueError("\n".join(faults))
    columns = np.meshgrid(np.arange(num_starts), *axes.values(), indexing="ij")
    names = ("start", "scale", "weight_decay", "learning_rate")
    return {name: column.ravel() for name, column in zip(names, columns, strict=True)}


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run_all(
    plan: training.Plan,
    chunk: int | None,
    mesh: Mesh | None,
    num_runs: int,
    settings: Mapping[str, Array],
    data: tuple[Params, Samples, Samples, Int[Array, "..."] | None],
) -> tuple[Params, dict[str, Array]]:
    """Maps a run over the settings: the same on every device of a mesh, each with its own settings."""
    own_runs = functools.partial(_run_own, plan, chunk)
    if mesh is None:
        return own_runs(settings, *data)
    spread = jax.shard_map(
        own_runs,
        mesh=mesh,
        in_specs=(PartitionSpec(meshes.ROWS), *[PartitionSpec() for _ in data]),  # type: ignore[no-untyped-call]
        out_specs=PartitionSpec(meshes.ROWS),  # type: ignore[no-untyped-call]
        check_vma=False,
    )
    whole = meshes.everywhere(spread(settings, *data), mesh)
    # `spread` has filled the mesh up with runs of zeros, that nobody asked for.
    runs: tuple[Params, dict[str, Array]] = jax.tree.map(lambda leaf: leaf[:num_runs], whole)
    return runs


def _run_own(
    plan: training.Plan,
    chunk: int | None,
    settings: Mapping[str, Array],
    starts: Params,
    train: Samples,
    val: Samples,
    order: Int[Array, "..."] | None,
) -> tuple[Params, dict[str, Array]]:
    """Maps a run over the settings, all at once or a chunk at a time."""

    def one(settings: Mapping[str, Array]) -> tuple[Params, dict[str, Array]]:
        # A start is taken and scaled here and not before: a copy for every run would defeat the chunks.
        params = jax.tree.map(lambda leaf: leaf[settings["start"]], starts)
        if "scale" in settings:
            params = jax.tree.map(lambda leaf: leaf * settings["scale"], params)
        fitted = training.run(
            plan,
            params,
            train,
            val,
            order,
            settings["learning_rate"],
            weight_decay=settings.get("weight_decay"),
        )
        return fitted.params, fitted.history

    if chunk is None or chunk >= len(settings["start"]):
        return jax.vmap(one)(settings)
    mapped: tuple[Params, dict[str, Array]] = lax.map(one, settings, batch_size=chunk)
    return mapped
