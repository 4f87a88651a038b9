"""The networks of one layer trained with NumPy alone, gradients derived by hand.

Source: notebook, sections 3.1.4 and 3.2.4.
"""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from parity.numerics.arrays import Arrays

Training = Callable[[Arrays, Arrays, int, float], dict[str, np.ndarray]]
"""`training(weights, inputs, epochs, learning_rate) -> history`."""


def numpy_training(recipe: str) -> Training | None:
    """The training of a recipe by hand.

    Args:
        recipe: name of the recipe.

    Returns:
        The training; None where there is none.
    """
    return {"logistic": _logistic, "softmax": _softmax}.get(recipe)


def _logistic(weights: Arrays, inputs: Arrays, epochs: int, learning_rate: float) -> dict[str, np.ndarray]:
    """Full-batch logistic regression: dl/do = q - y, of N samples the mean."""
    w, b = weights["w"].copy(), weights["b"].copy()
    x, y = inputs["x_train"], inputs["y_train"]
    history: dict[str, list[float]] = defaultdict(list)

    def record(part: str, logits: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"]) -> None:
        losses = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
        history[f"{part}_loss"].append(losses.mean())
        history[f"{part}_accuracy"].append(((logits > 0) == (labels > 0.5)).mean())

    for _ in range(epochs):
        logits = x @ w + b
        record("train", logits, y)
        record("val", inputs["x_val"] @ w + b, inputs["y_val"])
        residual = (1 / (1 + np.exp(-logits)) - y) / np.float32(len(x))
        w -= np.float32(learning_rate) * (residual @ x)
        b -= np.float32(learning_rate) * residual.sum()
    return {name: np.array(values) for name, values in history.items()}


def _softmax(weights: Arrays, inputs: Arrays, epochs: int, learning_rate: float) -> dict[str, np.ndarray]:
    """Full-batch softmax regression: dl/do = q - y, of N samples the mean; the sum is recorded."""
    W, b = weights["W"].copy(), weights["b"].copy()
    x, y = inputs["x_train"], inputs["y_train"]
    history: dict[str, list[float]] = defaultdict(list)

    def normalised(logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
        shifted = logits - logits.max(1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))

    def record(part: str, log_q: Float[np.ndarray, "N K"], labels: Float[np.ndarray, "N K"]) -> None:
        history[f"{part}_loss"].append(-(labels * log_q).sum())
        history[f"{part}_accuracy"].append((log_q.argmax(1) == labels.argmax(1)).mean())

    for _ in range(epochs):
        log_q = normalised(x @ W.T + b)
        record("train", log_q, y)
        record("val", normalised(inputs["x_val"] @ W.T + b), inputs["y_val"])
        residual = (np.exp(log_q) - y) / np.float32(len(x))
        W -= np.float32(learning_rate) * (residual.T @ x)
        b -= np.float32(learning_rate) * residual.sum(0)
    return {name: np.array(values) for name, values in history.items()}
