"""A mesh of two real processes: what each may hold and see."""

import contextlib
import io

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxnn
from jaxnn.recipes import RECIPES
from parity.networks.processes import process_group

NUM_TRAIN, NUM_VAL = 44, 12  # multiples of the processes: global arrays cannot be filled up


def samples(n, seed):
    rng = np.random.default_rng(seed)
    return rng.random((n, 6)).astype(np.float32), rng.integers(0, 3, n)


def train(mesh, train, val, **further):
    recipe = RECIPES["mlp"]
    model = recipe.model((6,), 3)
    return jaxnn.fit(
        model.apply,
        model.init(jax.random.key(0)),
        train,
        val,
        loss=recipe.loss,
        metrics={"loss": recipe.metrics["loss"]},
        optimizer=recipe.optimizer,
        learning_rate=0.1,
        epochs=3,
        batch_size=7,
        mesh=mesh,
        **further,
    )


def join(member):
    jaxnn.mesh.start(member.coordinator, member.world, member.rank)
    mesh = jaxnn.mesh.make()

    def global_rows(array):
        """An array of which this process holds its own rows only."""
        own = np.split(array, member.world)[member.rank]
        return jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("rows")), own)

    def answer(job):
        if job == "own rows":
            splits = [tuple(map(global_rows, samples(n, i))) for i, n in enumerate((NUM_TRAIN, NUM_VAL))]
            return np.asarray(train(mesh, *splits).history["train_loss"])
        if job == "again":  # params that are global already
            splits = samples(NUM_TRAIN, 0), samples(NUM_VAL, 1)
            first = train(mesh, *splits)
            params = jaxnn.mesh.replicate(first.params, mesh)
            same = jax.tree.map(
                lambda a, b: bool(np.all(np.asarray(a) == np.asarray(b))), params, first.params
            )
            return all(jax.tree.leaves(same))
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            train(mesh, samples(NUM_TRAIN, 0), samples(NUM_VAL, 1), progress=True)
        if member.rank == 1 and shown.getvalue():
            raise AssertionError(f"process 1 showed {shown.getvalue()!r}")
        return shown.getvalue()

    return answer


@pytest.fixture(scope="module")
def members():
    with process_group(2, join) as both:
        yield both


def test_no_process_need_hold_all_samples(members):
    alone = train(None, samples(NUM_TRAIN, 0), samples(NUM_VAL, 1))
    np.testing.assert_allclose(members("own rows"), alone.history["train_loss"], rtol=1e-5)


def test_what_a_run_returns_can_be_put_on_the_mesh_again(members):
    assert members("again")


def test_the_first_process_alone_shows_a_bar(members):
    assert "train_loss" in members("progress")
