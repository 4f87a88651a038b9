"""The weights of a streamed reference: left in the user's files, or copied beside its recording."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from parity.frameworks.unread_weights import Streaming, unread_weights
from parity.numerics.arrays import Arrays
from parity.numerics.unread import UnreadArrays
from parity.weights import Signature
from parity.weights.sharded_files import ShardWriter
from parity.weights.stored_tensors import stored_tensors


def write_unread(weights: Arrays, place: Path) -> None:
    """Copy weights to a recording, one at a time.

    Args:
        weights: by name.
        place: the recording's directory.
    """
    shards = ShardWriter(place, "weights")
    for name in weights:
        shards.put(name, weights[name])
    shards.flush()


def read_unread(place: Path, files: Sequence[str], signatures: Mapping[str, Signature]) -> UnreadArrays:
    """The weights of a streamed reference, read at each use.

    Args:
        place: the recording's directory.
        files: the user's; none if they were copied.
        signatures: of the weights that the reference has.

    Raises:
        ValueError: if a file cannot be read, or lacks a weight.
    """
    stored = stored_tensors(files or sorted(place.glob("weights-*.safetensors")))
    others = {name: signature.tied for name, signature in signatures.items()}
    return unread_weights(signatures, Streaming(stored), others)[0]
