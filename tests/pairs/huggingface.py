"""Public models that exist in both frameworks: BERT, GPT-2 and ResNet of transformers 4, small and random."""

from typing import Any

import numpy as np
import pytest

from parity.frameworks.jax.trees import flatten
from tests.kit.inputs import integers, normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise
from tests.pairs.ports import port


def transformers() -> Any:
    """The package; skips the test where it is missing or, from version 5 on, has no Flax classes."""
    package = pytest.importorskip("transformers", reason="requires_flax_transformers: it is not installed")
    if not hasattr(package, "FlaxBertModel"):
        pytest.skip("requires_flax_transformers: this version has no Flax classes")
    return package


def both(name: str, config: Any, inputs: dict[str, np.ndarray], shape: tuple[int, ...]) -> Pair:
    """A class of each framework, and weights converted by transformers' own converter."""
    package = transformers()
    from transformers.modeling_flax_pytorch_utils import convert_pytorch_state_dict_to_flax

    reference = randomise(getattr(package, name)(config))
    model = getattr(package, f"Flax{name}")(config, input_shape=shape)
    tensors = {key: tensor.clone() for key, tensor in reference.state_dict().items()}
    converted, _ = flatten(convert_pytorch_state_dict_to_flax(dict(tensors), model))
    params = {}
    for path in flatten(model.params)[0]:  # the converter keeps both ends of a tie
        params[path] = converted[path] if path in converted else by_name(tensors, path)
    return Pair(reference, model, inputs, params, single=True)


def by_name(tensors: Any, path: str) -> np.ndarray:
    """Leaves of ResNet's basic layers, whose Flax names the converter does not know."""
    *module, leaf = path.replace("/layer_", "/").split("/")[1:]
    role = {"mean": "running_mean", "var": "running_var", "bias": "bias"}.get(leaf, "weight")
    array = tensors[".".join([*module, role])].numpy()
    return array.transpose(2, 3, 1, 0) if leaf == "kernel" else array


def bert() -> Any:
    return transformers().BertConfig(
        vocab_size=31,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
    )


def gpt2() -> Any:
    return transformers().GPT2Config(vocab_size=31, n_embd=16, n_layer=2, n_head=2, n_positions=20)


def ids_and_mask() -> dict[str, np.ndarray]:
    mask = np.ones((2, 7), int)
    mask[1, 5:] = 0
    return {"input_ids": integers(31, 2, 7), "attention_mask": mask}


@port("huggingface/bert")
def _() -> Pair:
    kinds = np.array([[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]])
    return both("BertModel", bert(), ids_and_mask() | {"token_type_ids": kinds}, (1, 4))


@port("huggingface/bert-masked-lm")
def _() -> Pair:
    """The head is tied to the embedding."""
    return both("BertForMaskedLM", bert(), ids_and_mask(), (1, 4))


@port("huggingface/gpt2")
def _() -> Pair:
    """With its cache, which the Flax model does not return."""
    return both("GPT2Model", gpt2(), {"input_ids": integers(31, 2, 7)}, (1, 4))


@port("huggingface/gpt2-lm-head")
def _() -> Pair:
    return both("GPT2LMHeadModel", gpt2(), {"input_ids": integers(31, 2, 7)}, (1, 4))


@port("huggingface/resnet")
def _() -> Pair:
    config = transformers().ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[2, 1], layer_type="basic"
    )
    return both("ResNetModel", config, {"pixel_values": normal(2, 3, 32, 36)}, (1, 32, 36, 3))


@port("huggingface/resnet-bottleneck")
def _() -> Pair:
    config = transformers().ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], num_labels=3)
    return both(
        "ResNetForImageClassification", config, {"pixel_values": normal(2, 3, 32, 36)}, (1, 32, 36, 3)
    )
