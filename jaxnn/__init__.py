"""The notebook's networks as pure functions in JAX, trained by optax in one compiled program.

`RECIPES` names the experiments, `fit` trains one network, `sweep` many at once::

    recipe = jaxnn.RECIPES["mlp"]
    model = recipe.model((4096,), 10)
    params = model.init(jax.random.key(0))
    run = jaxnn.fit(
        model.apply, params, (x, y), (x_val, y_val), loss=recipe.loss, metrics=recipe.metrics,
        optimizer=recipe.optimizer, learning_rate=recipe.learning_rate, epochs=recipe.epochs,
        batch_size=recipe.batch_size,
    )
"""

from jaxnn import (
    activations,
    arguments,
    augmentation,
    by_hand,
    heatmap,
    initializers,
    layers,
    losses,
    mesh,
    metrics,
    models,
    modules,
    optimizers,
    penalties,
    progress,
    recipes,
    results,
    training,
)
from jaxnn.early_stopping import EarlyStopping
from jaxnn.fitting import fit
from jaxnn.models import Model
from jaxnn.recipes import RECIPES, Recipe
from jaxnn.results import Sweep
from jaxnn.sample_gradients import per_sample_grads
from jaxnn.sweep import sweep
from jaxnn.training import Fit

__all__ = [
    "RECIPES",
    "EarlyStopping",
    "Fit",
    "Model",
    "Recipe",
    "Sweep",
    "activations",
    "arguments",
    "augmentation",
    "by_hand",
    "fit",
    "heatmap",
    "initializers",
    "layers",
    "losses",
    "mesh",
    "metrics",
    "models",
    "modules",
    "optimizers",
    "penalties",
    "per_sample_grads",
    "progress",
    "recipes",
    "results",
    "sweep",
    "training",
]
