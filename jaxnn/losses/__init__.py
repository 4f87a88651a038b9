"""The losses: the notebook's, and every one of `torch.nn` with PyTorch's semantics.

The notebook's take logits (or predictions) and labels and return one number. Those that are named after a
class of `torch.nn` (`nll_loss` after `NLLLoss`) are pure functions with its arguments, options and defaults:
what the module is called with comes first, what it is made with by keyword. They work under `jit` (options
and numbers fixed), `vmap` and `grad`, and keep the dtype of their inputs.

Values and gradients are PyTorch's to rounding, on either side of every kink and at it. They stand on optax's
where it agrees; every difference from optax, and of PyTorch's gradient from the derivative, stands in a
function's section "Differs". Three rules hold throughout:

- Where PyTorch loses a finite value or a finite derivative of finite inputs to its own arithmetic
  (`soft_margin_loss`, `bce_with_logits_loss`, `poisson_nll_loss`), it is kept here.
- What is infinite in the inputs follows IEEE arithmetic as in PyTorch, 0 times infinity included, but for
  `ctc_loss`, whose gradient is finite wherever the loss is.
- Where PyTorch raises because of a value (an index that is no class, a length out of range), compiled code
  cannot: the result and the gradient of that sample are NaN. What is wrong with a shape, dtype or option
  raises.

`NLLLoss2d` is an old name of `NLLLoss`. `AdaptiveLogSoftmaxWithLoss` has weights of its own, which
`adaptive_log_softmax_loss` takes as arguments, as `linear_cross_entropy_loss` does.
"""

from jaxnn.losses.adaptive_softmax import AdaptiveLogSoftmaxOutput, adaptive_log_softmax_loss
from jaxnn.losses.alignment import ctc_loss
from jaxnn.losses.binary import (
    bce_loss,
    bce_with_logits_loss,
    multi_label_soft_margin_loss,
    soft_margin_loss,
)
from jaxnn.losses.classification import cross_entropy_loss, linear_cross_entropy_loss, nll_loss
from jaxnn.losses.likelihoods import gaussian_nll_loss, kl_div_loss, poisson_nll_loss
from jaxnn.losses.margins import (
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_label_margin_loss,
    multi_margin_loss,
)
from jaxnn.losses.metric_learning import (
    cosine_embedding_loss,
    pairwise_distance,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from jaxnn.losses.notebook import (
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    cross_entropy_mean_all,
    cross_entropy_sum,
    square_error,
)
from jaxnn.losses.reducing import Reduction
from jaxnn.losses.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss

__all__ = [
    "AdaptiveLogSoftmaxOutput",
    "Reduction",
    "absolute_error",
    "adaptive_log_softmax_loss",
    "bce_loss",
    "bce_with_logits_loss",
    "binary_cross_entropy",
    "cosine_embedding_loss",
    "cross_entropy",
    "cross_entropy_loss",
    "cross_entropy_mean_all",
    "cross_entropy_sum",
    "ctc_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div_loss",
    "l1_loss",
    "linear_cross_entropy_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_label_margin_loss",
    "multi_label_soft_margin_loss",
    "multi_margin_loss",
    "nll_loss",
    "pairwise_distance",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "square_error",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
