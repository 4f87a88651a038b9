"""Each loss of `torch.nn` beside its twin: what both are called with, at random and at every edge."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxnn import losses

INF = np.inf


class Twin(NamedTuple):
    """One loss in both frameworks, with the same positional arguments and options.

    Attributes:
        jax: The function of `jaxnn.losses`.
        torch: That of PyTorch.
        drawn: A strategy for each positional argument.
        options: Combinations of options, without the reduction.
        reductions: What the loss can do.
        size: Of the terms that a loss or gradient sums per element, where these can cancel to nothing.
    """

    jax: Callable[..., Any]
    torch: Callable[..., Any]
    drawn: tuple[st.SearchStrategy[Any], ...]
    options: list[dict[str, Any]]
    reductions: tuple[str, ...] = ("none", "mean", "sum")
    size: float = 0.0


def reals(*shape, least=-3.0, most=3.0):
    return hnp.arrays(np.float64, shape, elements=st.floats(least, most, allow_subnormal=False))


def positive(*shape):
    return reals(*shape, least=0.125)


def integers(*shape, values):
    return hnp.arrays(np.int64, shape, elements=st.sampled_from(values))


def grid(**values: list[Any]) -> list[dict[str, Any]]:
    """All combinations; None leaves an option out."""
    combinations = itertools.product(*values.values())
    return [{k: v for k, v in zip(values, row, strict=True) if v is not None} for row in combinations]


def squared(a, b):
    """A distance of one's own, for arrays of either framework."""
    return ((a - b) ** 2).sum(-1)


X, Y, SIGNS = reals(4, 3), reals(4, 3), integers(4, 3, values=[-1, 1])
CLASSES = integers(4, values=[0, 1, 2])
CLASS_WEIGHT = np.array([0.5, 0.0, 2.0])
ELEMENT_WEIGHT = np.linspace(0.0, 2.0, 12).reshape(4, 3)
CROSS_ENTROPY = grid(weight=[None, CLASS_WEIGHT], ignore_index=[None, 1], label_smoothing=[None, 0.3])
FEW = [{}, CROSS_ENTROPY[-1]]
LIKELIHOOD = grid(weight=[None, CLASS_WEIGHT], ignore_index=[None, 1])
TRIPLET = [*grid(p=[None, 0, 0.5, 1, 1.5, 3, INF]), {"swap": True}, {"margin": 0.25, "eps": 0.0}]


def weighted(loss):
    """Makes the weight a positional argument, so that gradients reach it."""
    return lambda x, y, w, **options: loss(x, y, weight=w, **options)


TWINS = {
    "l1_loss": Twin(losses.l1_loss, F.l1_loss, (X, Y), [{}]),
    "l1_loss, weighted": Twin(weighted(losses.l1_loss), weighted(F.l1_loss), (X, Y, positive(4, 3)), [{}]),
    "mse_loss": Twin(losses.mse_loss, F.mse_loss, (X, Y), [{}]),
    "mse_loss, weighted": Twin(weighted(losses.mse_loss), weighted(F.mse_loss), (X, Y, positive(4, 3)), [{}]),
    "smooth_l1_loss": Twin(losses.smooth_l1_loss, F.smooth_l1_loss, (X, Y), grid(beta=[None, 0.5, 0.0, 7])),
    "huber_loss": Twin(losses.huber_loss, F.huber_loss, (X, Y), grid(delta=[None, 0.5, 7])),
    "huber_loss, weighted": Twin(
        weighted(losses.huber_loss), weighted(F.huber_loss), (X, Y, positive(4, 3)), grid(delta=[None, 0.5])
    ),
    "cross_entropy_loss": Twin(losses.cross_entropy_loss, F.cross_entropy, (X, CLASSES), CROSS_ENTROPY),
    "cross_entropy_loss, images": Twin(
        losses.cross_entropy_loss,
        F.cross_entropy,
        (reals(2, 3, 2, 2), integers(2, 2, 2, values=[0, 1, 2])),
        FEW,
    ),
    "cross_entropy_loss, one sample": Twin(
        losses.cross_entropy_loss, F.cross_entropy, (reals(3), integers(values=[0, 2])), FEW
    ),
    "cross_entropy_loss, probabilities": Twin(
        weighted(losses.cross_entropy_loss),
        weighted(F.cross_entropy),
        (reals(2, 3, 2), reals(2, 3, 2, least=0.0, most=1.0), positive(3)),
        grid(label_smoothing=[None, 0.3]),
    ),
    "cross_entropy_loss, one sample's probabilities": Twin(
        losses.cross_entropy_loss, F.cross_entropy, (reals(3), reals(3, least=0.0, most=1.0)), [{}]
    ),
    "linear_cross_entropy_loss": Twin(
        lambda x, w, b, y, **options: losses.linear_cross_entropy_loss(x, w, y, linear_bias=b, **options),
        lambda x, w, b, y, **options: F.linear_cross_entropy(x, w, y, linear_bias=b, **options),
        (reals(4, 5), reals(3, 5), reals(3), CLASSES),
        FEW,
    ),
    "linear_cross_entropy_loss, several outputs": Twin(
        losses.linear_cross_entropy_loss,
        F.linear_cross_entropy,
        (reals(2, 5), reals(3, 2, 5), integers(2, 2, values=[0, 1, 2])),
        grid(label_smoothing=[None, 0.3]),
    ),
    "nll_loss": Twin(losses.nll_loss, F.nll_loss, (X, CLASSES), LIKELIHOOD),
    "nll_loss, images": Twin(
        losses.nll_loss,
        F.nll_loss,
        (reals(2, 3, 2, 2), integers(2, 2, 2, values=[0, 1, 2])),
        LIKELIHOOD,
    ),
    "nll_loss, one sample": Twin(
        losses.nll_loss, F.nll_loss, (reals(3), integers(values=[0, 2])), LIKELIHOOD
    ),
    "poisson_nll_loss": Twin(
        losses.poisson_nll_loss,
        F.poisson_nll_loss,
        (X, reals(4, 3, least=0.5, most=5.0)),
        grid(full=[None, True]),
    ),
    "poisson_nll_loss of a rate": Twin(
        losses.poisson_nll_loss,
        F.poisson_nll_loss,
        (reals(4, 3, least=0.0), reals(4, 3, least=0.5, most=5.0)),
        grid(log_input=[False], full=[None, True], eps=[None, 0.1]),
    ),
    "gaussian_nll_loss": Twin(
        losses.gaussian_nll_loss,
        F.gaussian_nll_loss,
        (X, Y, reals(4, 3, least=0.0)),
        grid(full=[None, True], eps=[None, 0.5]),
    ),
    "gaussian_nll_loss, a variance per row": Twin(
        losses.gaussian_nll_loss, F.gaussian_nll_loss, (X, Y, positive(4)), [{}]
    ),
    "gaussian_nll_loss, a variance per column": Twin(
        losses.gaussian_nll_loss, F.gaussian_nll_loss, (X, Y, positive(1, 3)), [{}]
    ),
    "gaussian_nll_loss, one variance": Twin(
        losses.gaussian_nll_loss, F.gaussian_nll_loss, (X, Y, st.just(0.25)), [{}]
    ),
    "kl_div_loss": Twin(
        losses.kl_div_loss,
        F.kl_div,
        (X, reals(4, 3, least=0.0, most=1.0)),
        [{}],
        reductions=("none", "mean", "sum", "batchmean"),
    ),
    "kl_div_loss of logarithms": Twin(
        losses.kl_div_loss,
        F.kl_div,
        (X, Y),
        [{"log_target": True}],
        reductions=("none", "mean", "sum", "batchmean"),
    ),
    "bce_loss": Twin(
        losses.bce_loss,
        F.binary_cross_entropy,
        (reals(4, 3, least=0.0, most=1.0), reals(4, 3, least=0.0, most=1.0)),
        grid(weight=[None, CLASS_WEIGHT + 0.5, ELEMENT_WEIGHT + 0.5]),
    ),
    "bce_with_logits_loss": Twin(
        losses.bce_with_logits_loss,
        F.binary_cross_entropy_with_logits,
        (X, reals(4, 3, least=0.0, most=1.0)),
        grid(weight=[None, CLASS_WEIGHT, ELEMENT_WEIGHT], pos_weight=[None, CLASS_WEIGHT]),
    ),
    "multi_label_soft_margin_loss": Twin(
        losses.multi_label_soft_margin_loss,
        F.multilabel_soft_margin_loss,
        (X, reals(4, 3, least=0.0, most=1.0)),
        grid(weight=[None, CLASS_WEIGHT]),
    ),
    "soft_margin_loss": Twin(losses.soft_margin_loss, F.soft_margin_loss, (X, SIGNS), [{}]),
    "margin_ranking_loss": Twin(
        losses.margin_ranking_loss,
        F.margin_ranking_loss,
        (X, Y, reals(4, 3, least=-1.0, most=1.0)),
        grid(margin=[None, 0.5, -1]),
    ),
    "hinge_embedding_loss": Twin(
        losses.hinge_embedding_loss,
        F.hinge_embedding_loss,
        (X, integers(4, 3, values=[-1, 1, 0])),
        grid(margin=[None, 2, -0.5]),
    ),
    "multi_margin_loss": Twin(
        losses.multi_margin_loss,
        F.multi_margin_loss,
        (X, integers(4, values=[0, 1, 2])),
        grid(p=[None, 2], margin=[None, 0.5, -1.0], weight=[None, CLASS_WEIGHT]),
    ),
    "multi_margin_loss, one sample": Twin(
        losses.multi_margin_loss, F.multi_margin_loss, (reals(3), integers(values=[0, 1, 2])), grid(p=[1, 2])
    ),
    "multi_label_margin_loss": Twin(
        losses.multi_label_margin_loss,
        F.multilabel_margin_loss,
        (X, integers(4, 3, values=[-1, 0, 1, 2])),
        [{}],
    ),
    "multi_label_margin_loss, one sample": Twin(
        losses.multi_label_margin_loss,
        F.multilabel_margin_loss,
        (reals(3), integers(3, values=[-1, 0, 1, 2])),
        [{}],
    ),
    "cosine_embedding_loss": Twin(
        losses.cosine_embedding_loss,
        F.cosine_embedding_loss,
        (positive(4, 3), reals(4, 3, least=0.25), integers(4, values=[-1, 1, 0])),
        grid(margin=[None, 0.5]),
    ),
    "cosine_embedding_loss, one pair": Twin(
        losses.cosine_embedding_loss,
        F.cosine_embedding_loss,
        (positive(3), reals(3, least=0.25), integers(values=[-1, 1])),
        [{}],
    ),
    "triplet_margin_loss": Twin(
        losses.triplet_margin_loss, F.triplet_margin_loss, (X, Y, reals(4, 3)), TRIPLET
    ),
    "triplet_margin_loss, one triplet": Twin(
        losses.triplet_margin_loss, F.triplet_margin_loss, (reals(3), reals(3), reals(3)), [{}]
    ),
    "triplet_margin_with_distance_loss": Twin(
        losses.triplet_margin_with_distance_loss,
        F.triplet_margin_with_distance_loss,
        (X, Y, reals(4, 3)),
        grid(swap=[None, True], margin=[None, 0.5]),
    ),
    "triplet_margin_with_distance_loss of one's own": Twin(
        losses.triplet_margin_with_distance_loss,
        F.triplet_margin_with_distance_loss,
        (X, Y, reals(4, 3)),
        [{"distance_function": squared}],
    ),
}

for _name in TWINS:
    if "cross_entropy" in _name or "triplet" in _name:
        TWINS[_name] = TWINS[_name]._replace(size=1.0)


def array(*rows):
    return np.array(rows, dtype=np.float64)


def index(*rows):
    return np.array(rows, dtype=np.int64)


ERRORS = array(0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 1e-300, 1e10, INF, -INF)
NOTHING = np.zeros_like(ERRORS)
SATURATED = array([1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [0.0, 0.0, 0.0])
MASKED = array([1.0, -INF, 2.0], [-INF, 0.0, -INF])
IGNORED = index(-100, -100, -100, -100)
LOGITS = array(0.0, -0.0, 1e4, 1e4, -1e4, -1e4, 800.0, -800.0, 36.0, -36.0)
ANSWERS = array(0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.5, 0.5, 0.25, 0.75)
TIES = array([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [3.0, -1.0, 2.0])
ORIGIN = np.zeros((4, 3))
CORNERS = array([0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [2.0, 3.0, 4.0], [3.0, -1.0, 2.0])

EDGES: dict[str, list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = {
    "l1_loss": [("exact hits, huge and infinite errors", (ERRORS, NOTHING), {})],
    "l1_loss, weighted": [
        ("zero weights", (ERRORS[:3], NOTHING[:3], np.zeros(3)), {}),
        ("one element", (ERRORS[:1], NOTHING[:1], np.ones(1)), {}),
    ],
    "mse_loss": [
        ("exact hits, huge errors", (np.append(ERRORS[:9], 1e150), np.zeros(10)), {}),
        ("infinite errors", (ERRORS[9:], NOTHING[9:]), {}),
    ],
    "mse_loss, weighted": [("zero weights", (ERRORS[:3], NOTHING[:3], np.zeros(3)), {})],
    "smooth_l1_loss": [
        ("at beta, at 0, huge", (ERRORS, NOTHING), options)
        for options in grid(beta=[1.0, 0.5, 2.0, 0.0, 1e-3])
    ],
    "huber_loss": [
        ("at delta, at 0, huge", (ERRORS, NOTHING), options) for options in grid(delta=[1.0, 0.5, 2.0])
    ],
    "cross_entropy_loss": [
        (name, (logits, target), options)
        for options in ({}, {"weight": CLASS_WEIGHT, "label_smoothing": 0.1}, {"weight": np.zeros(3)})
        for name, logits, target in [
            ("saturated", SATURATED, index(0, 0, 1, 2)),
            ("saturated and right", SATURATED[:1], index(0)),
            ("all ignored", SATURATED, IGNORED),
            ("some ignored", SATURATED, index(0, -100, 1, -100)),
            ("infinite, ignored", MASKED, index(-100, -100)),
            ("infinite logits of other classes", MASKED, index(0, 1)),
            ("infinite logits of the right classes", MASKED, index(1, 0)),
            ("no sample", np.zeros((0, 3)), np.zeros(0, np.int64)),
        ]
    ],
    "cross_entropy_loss, probabilities": [
        ("one-hot, saturated", (SATURATED, np.eye(3)[[0, 0, 1, 2]], np.ones(3)), {}),
        ("no mass, no weight", (SATURATED, np.zeros((4, 3)), np.zeros(3)), {}),
        ("infinite logits", (MASKED, array([0.5, 0.0, 0.5], [0.0, 1.0, 0.0]), np.ones(3)), {}),
    ],
    "nll_loss": [
        (name, (log_q, target), options)
        for options in grid(weight=[None, CLASS_WEIGHT, np.zeros(3)])
        for name, log_q, target in [
            ("all ignored", SATURATED, IGNORED),
            ("infinite, ignored", MASKED, index(-100, -100)),
            ("infinite", MASKED, index(1, 0)),
            ("no sample", np.zeros((0, 3)), np.zeros(0, np.int64)),
        ]
    ],
    "poisson_nll_loss": [
        ("saturated", (array(-800.0, 0.0, 700.0), array(1.0, 2.0, 3.0)), {}),
        ("on both sides of a count of 1", (array(0.5, 0.5, 0.5), array(0.5, 1.0, 1.5)), {"full": True}),
        ("no count", (array(0.5, -0.5), array(0.0, 0.0)), {}),
    ],
    "poisson_nll_loss of a rate": [
        ("no rate", (array(0.0, 0.0), array(0.0, 3.0)), {"log_input": False}),
    ],
    "gaussian_nll_loss": [
        (
            "variances at, below and above the floor",
            (
                array(0.0, 2.0, 3.0, 1.0, 1.0),
                array(0.0, 0.5, 1.0, 3.0, 1.0),
                array(0.0, 1e-6, 1e-9, 2e-6, 1e-7),
            ),
            options,
        )
        for options in grid(full=[None, True])
    ],
    "kl_div_loss": [
        ("no mass", (array(-1.0, -2.0, -1e4), array(0.0, 0.5, 1.0)), {}),
        ("infinite", (array(-INF, -INF, -1.0), array(0.0, 0.5, 1.0)), {}),
        ("one number", (np.array(-1.0), np.array(0.5)), {}),
    ],
    "kl_div_loss of logarithms": [
        ("infinite", (array(-1.0, -INF), array(-INF, -1.0)), {"log_target": True}),
        ("saturated", (array(-1.0, -2.0), array(-1e4, -800.0)), {"log_target": True}),
    ],
    "bce_loss": [
        (
            "certain, right and wrong",
            (array(0, 1, 0, 1, 1e-15, 1 - 1e-15, 1e-13, 1e-50), array(0, 0, 1, 1, 1, 0, 0, 1)),
            {},
        ),
        ("zero weights", (array(0.2, 0.5), array(0.0, 1.0)), {"weight": np.zeros(2)}),
        ("one element", (array(0.2), array(1.0)), {}),
    ],
    "bce_with_logits_loss": [
        ("saturated", (LOGITS, ANSWERS), {}),
        ("saturated, weighted", (LOGITS, ANSWERS), {"pos_weight": np.array([3.0])}),
        ("zero weights", (LOGITS, ANSWERS), {"pos_weight": np.zeros(1), "weight": np.zeros(1)}),
        ("infinite", (array(INF, -INF, INF), array(1.0, 0.0, 0.0)), {}),
    ],
    "multi_label_soft_margin_loss": [
        ("saturated", (LOGITS.reshape(2, 5), ANSWERS.reshape(2, 5)), {}),
        ("zero weights", (LOGITS, ANSWERS), {"weight": np.zeros(10)}),
    ],
    "soft_margin_loss": [
        ("right, saturated", (array(1e4, -1e4, 700.0, 0.0, -700.0), index(1, -1, 1, 1, 1)), {}),
    ],
    "margin_ranking_loss": [
        (
            "at the margin",
            (array(0.0, 1.0, 2.0, 0.0), array(0.0, 0.0, 0.0, 1.0), array(1.0, 1.0, -1.0, -1.0)),
            options,
        )
        for options in grid(margin=[0, 1, 2.0, -1])
    ],
    "hinge_embedding_loss": [
        ("at the margin", (array(0.0, 1.0, 0.5, 2.0, 2.0), index(1, -1, -1, -1, 0)), options)
        for options in grid(margin=[1, 2.0, 0, -1])
    ],
    "multi_margin_loss": [
        (
            "at the margin, ties",
            (array([1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]), index(0, 1, 1)),
            options,
        )
        for options in grid(p=[1, 2], margin=[1.0, 0.0], weight=[None, np.zeros(3)])
    ]
    + [("saturated", (SATURATED, index(0, 0, 1, 2)), {})],
    "multi_label_margin_loss": [
        ("at the margin", (array([1.0, 0.0, 0.0], [0.0, 1.0, 2.0]), index([0, -1, 1], [2, 1, -1])), {}),
        ("one class twice", (array([0.5, 0.0, 0.25]), index([0, 0, -1])), {}),
        (
            "no class, all classes",
            (array([1.0, 0.0, 0.0], [0.0, 1.0, 2.0]), index([-1, 0, 1], [2, 1, 0])),
            {},
        ),
    ],
    "cosine_embedding_loss": [
        (
            "zero vectors, right angles",
            (
                array([1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]),
                array([0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]),
                index(1, -1, -1, 1),
            ),
            {},
        ),
        ("tiny", (array([1e-7, 0.0], [1e-6, 1e-6]), array([1e-7, 1e-7], [1e-6, 0.0]), index(1, -1)), {}),
    ],
    "triplet_margin_loss": [
        ("no distance, ties", (CORNERS, corner, ORIGIN), {"eps": 0.0, "margin": 5.0, **options})
        for options in grid(p=[0, 0.5, 1, 1.5, 2, 3, INF], swap=[True])
        for corner in (CORNERS, ORIGIN, TIES)
    ]
    + [("at the margin", (array([0.0]), array([1.0]), array([2.0])), {"eps": 0.0})],
    "triplet_margin_with_distance_loss": [
        ("at the margin", (array([0.0]), array([1.0]), array([2.0])), {"distance_function": squared}),
    ],
}


def random_cases() -> Iterator[tuple[str, int]]:
    """Every twin with every combination of its options."""
    for name, twin in TWINS.items():
        for i in range(len(twin.options)):
            yield name, i


def edge_cases() -> Iterator[tuple[str, int]]:
    """Every edge."""
    for name, edges in EDGES.items():
        for i in range(len(edges)):
            yield name, i
