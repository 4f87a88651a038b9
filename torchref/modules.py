"""The same kind of networks as `torch.nn` modules; all return logits.

The layers of `torch.nn` draw their parameters from the global random state when they are built: kernel
and bias uniform within 1 / sqrt(fan_in). Use `torchref.instantiate` for a network from a seed that
leaves that state alone.

Source:
    Notebook, sections 3.5, 4.4.2 to 4.4.4, 4.5 and 4.6.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torchref import checks
from torchref.dropout import Dropout, DropoutSequential


class SoftmaxModule(nn.Module):
    """Softmax regression from two bare parameters, `o = x W + b`.

    `W` (D, K) is drawn from 0.1 * N(0, 1), `b` (K,) is zero.

    Args:
        num_features: D.
        num_outputs: K, the number of classes.

    Source:
        Notebook, section 4.4.2.
    """

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.W = nn.Parameter(0.1 * torch.randn(num_features, num_outputs))
        self.b = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Logits of a batch."""
        return x @ self.W + self.b


def linear(num_features: int, num_outputs: int) -> nn.Linear:
    """Softmax regression as one library layer, (N, D) -> (N, K).

    Args:
        num_features: D.
        num_outputs: K, the number of classes.

    Returns:
        The layer, with `weight` (K, D) and `bias` (K,).

    Source:
        Notebook, section 4.4.2.
    """
    return nn.Linear(num_features, num_outputs)


def mlp(sizes: Sequence[int], *, dropout_rate: float = 0.0) -> nn.Sequential:
    """Linear layers with ReLU between them, (N, sizes[0]) -> (N, sizes[-1]), and with dropout if wanted.

    Args:
        sizes: widths from input to output, two or more, such as (4096, 200, 50, 20, 10).
        dropout_rate: share of the hidden units that a training step leaves out. Above 0 it is a
            `DropoutSequential`, to be trained with `forward(x, keep=...)`.

    Returns:
        The layers in sequence; the last one has no activation.

    Raises:
        ValueError: if `sizes` has fewer than two entries, or `dropout_rate` is not in [0, 1).

    Source:
        Notebook, sections 4.4.4 and 4.5 (dropout).

    >>> mlp([4, 3, 2])
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
      (2): Linear(in_features=3, out_features=2, bias=True)
    )
    """
    if len(sizes) < 2:
        raise ValueError(f"`sizes` must hold at least an input and an output width, got {tuple(sizes)}.")
    return _in_sequence([nn.Linear(*pair) for pair in pairwise(sizes)], [], sizes, dropout_rate)


def regression(num_features: int, num_hidden: int = 20) -> nn.Sequential:
    """One hidden ReLU layer and one linear output, (N, D) -> (N,).

    Args:
        num_features: D.
        num_hidden: width of the hidden layer.

    Returns:
        `mlp` with its single output flattened away, so that predictions have the shape of targets.

    Source:
        Notebook, section 3.5.
    """
    return mlp([num_features, num_hidden, 1]).append(nn.Flatten(start_dim=0))


def cnn(num_channels: Sequence[int] = (1, 16, 16, 10)) -> nn.Sequential:
    """The notebook's convolutional network as printed, (N, C, H, W) -> (N, K * cells).

    Each convolution halves the image, the pool then averages 4 x 4 pixels: images of 64 x 64 keep
    `cells = 2 * 2` values per channel, flattened channel first, so that there are 40 logits, not 10.
    Cross entropy takes the other 30 for classes that never occur. The last ReLU keeps every logit from
    being negative.

    Args:
        num_channels: channels of the images, C, and of each convolution, the last one K.

    Returns:
        The layers in sequence.

    Raises:
        ValueError: if `num_channels` has fewer than two entries.

    Differs:
        Flattened from the NHWC layout, the same values would come channel last: other classes.

    Source:
        Notebook, section 4.6.
    """
    end = [nn.ReLU(), nn.AvgPool2d(4), nn.Flatten()]
    return _in_sequence(_convolutions(num_channels), end, num_channels)


def cnn_global_pool(
    num_channels: Sequence[int] = (1, 16, 16, 10), *, dropout_rate: float = 0.0
) -> nn.Sequential:
    """The network that the notebook's `cnn` meant to be, (N, C, H, W) -> (N, K).

    One average over the whole image for each class, of values of either sign: no ReLU at the end.

    Args:
        num_channels: channels of the images, C, and of each convolution, the last one K.
        dropout_rate: share of the hidden channels that a training step leaves out. Above 0 it is a
            `DropoutSequential`, to be trained with `forward(x, keep=...)`.

    Returns:
        The layers in sequence.

    Raises:
        ValueError: if `num_channels` has fewer than two entries, or `dropout_rate` is not in [0, 1).

    Source:
        Notebook, section 4.6, corrected, and 4.5 (dropout).
    """
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _in_sequence(_convolutions(num_channels), end, num_channels, dropout_rate)


def _convolutions(num_channels: Sequence[int]) -> list[nn.Module]:
    if len(num_channels) < 2:
        raise ValueError(
            "`num_channels` must hold the channels of the images and of at least one convolution, "
            f"got {tuple(num_channels)}."
        )
    return [nn.Conv2d(*pair, kernel_size=3, stride=2, padding=1) for pair in pairwise(num_channels)]


def _in_sequence(
    layers: Sequence[nn.Module], end: Sequence[nn.Module], widths: Sequence[int], dropout_rate: float = 0.0
) -> nn.Sequential:
    """Layers with ReLU and dropout between them; `widths` are those of the inputs and of each layer."""
    if dropout_rate == 0:
        between = [[nn.ReLU()] for _ in widths[1:-1]]
        return nn.Sequential(*_alternating(layers, between), *end)
    dropping = [[nn.ReLU(), Dropout(width, dropout_rate)] for width in widths[1:-1]]
    return DropoutSequential(*_alternating(layers, dropping), *end)


def _alternating(layers: Sequence[nn.Module], between: Sequence[Sequence[nn.Module]]) -> Iterator[nn.Module]:
    for layer, followers in zip(layers, [*between, []], strict=True):
        yield from (layer, *followers)


NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "softmax_module": lambda shape, hidden, num_outputs: SoftmaxModule(
            checks.num_features(shape), num_outputs
        ),
        "linear": lambda shape, hidden, num_outputs: linear(checks.num_features(shape), num_outputs),
        "linear_minibatch": lambda shape, hidden, num_outputs: linear(
            checks.num_features(shape), num_outputs
        ),
        "mlp": lambda shape, hidden, num_outputs, **dropout: mlp(
            (checks.num_features(shape), *hidden, num_outputs), **dropout
        ),
        "cnn": lambda shape, hidden, num_outputs: cnn((checks.num_channels(shape), *hidden, num_outputs)),
        "cnn_global_pool": lambda shape, hidden, num_outputs, **dropout: cnn_global_pool(
            (checks.num_channels(shape), *hidden, num_outputs), **dropout
        ),
        "regression": lambda shape, hidden, num_outputs: regression(checks.num_features(shape), *hidden),
    }
)
"""Experiments by name: from the shape of one input, the hidden units and the number of outputs; some take
a `dropout_rate`."""
