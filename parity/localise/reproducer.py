"""The smallest reproducer of a divergence: the candidate's faulty operations in a script of their own.

A directory holds the numbers that go in and the reference's value (`values.safetensors`), and `reproduce.py`,
which computes the candidate's value from them and prints how far it is from the reference's. Neither needs
the models or this package. Every script is run before it is written. Operations that cannot be written down,
as those of a candidate whose framework nothing here writes, are replaced by the recorded value; the script
says so, and needs no framework.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.localise.comparison import Comparison, Region
from parity.localise.jax_code import SEVERAL, expression
from parity.numerics.complex_parts import real_parts
from parity.report.results import Place
from parity.report.sides import Sides
from parity.trace.graph import NodeKind, Trace

Array = Shaped[np.ndarray, "..."]

Writer = Callable[[str, Sequence[str], Mapping[str, Any]], str | None]
"""From an operation, the names of its operands and its settings to an expression; None if it cannot be."""

LARGEST = 80
"""Operations that a script may have."""

RTOL, ATOL = 1e-9, 1e-12
"""How near, in float64, a script must come to the recorded value: XLA may add in another order there."""

HEAD = '''"""Divergence {number}: {candidate}'s value ({candidate_place})
against {reference}'s ({reference_place}), from the same numbers."""

from pathlib import Path

'''

COMPUTED = """import jax
import jax.numpy as jnp
from safetensors.numpy import load_file

jax.config.update("jax_enable_x64", True)
loaded = load_file(Path(__file__).with_name("values.safetensors"))
values = {{name: jnp.asarray(array) for name, array in loaded.items()}}
{joined}expected = values.pop("expected") * 1.0


{program}


actual = candidate(**values)
gap, scale = jnp.abs(actual * 1.0 - expected), jnp.nanmax(jnp.abs(expected))
print(f"largest difference {{jnp.nanmax(gap):.3e}}, largest value {{scale:.3e}}")
print(f"relative difference {{jnp.nanmax(gap) / scale:.3e}}")
"""

RECORDED = """import numpy as np
from safetensors.numpy import load_file

# The operations there cannot be written down: what {candidate} computed was recorded.
values = load_file(Path(__file__).with_name("values.safetensors"))
expected, actual = values["expected"].astype(float), values["recorded"].astype(float)
gap, scale = np.abs(actual - expected), np.nanmax(np.abs(expected))
print(f"largest difference {{np.nanmax(gap):.3e}}, largest value {{scale:.3e}}")
print(f"relative difference {{np.nanmax(gap) / scale:.3e}}")
"""


class Excerpt(NamedTuple):
    """The faulty operations written down.

    Attributes:
        inputs: what goes in, by the name that the lines use.
        lines: one per operation; the last one returns the candidate's value.
    """

    inputs: Mapping[str, Array]
    lines: Sequence[str]

    def __str__(self) -> str:
        """A function of what goes in."""
        head = f"def candidate({', '.join(self.inputs)}):"
        return "\n".join([head, *[f"    {line}" for line in self.lines]])


def write_reproducer(
    comparison: Comparison,
    region: Region,
    directory: str | os.PathLike[str],
    number: int,
    *,
    sides: Sides | None = None,
    writer: Writer | None = expression,
) -> Path:
    """Write the reproducer of one fault; an older one of the same number is replaced.

    Args:
        comparison: both traces.
        region: the fault.
        directory: where `divergence-<number>` is made.
        number: of the divergence, from 1.
        sides: what the two sides are called in the script.
        writer: how an operation of the candidate is written in JAX; None for a candidate that is no JAX
            program, of which the recorded value is kept.

    Returns:
        The new directory.

    Raises:
        ValueError: if `directory` is a file, or cannot be made.
    """
    from safetensors.numpy import save_file

    place = Path(directory)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write reproducers to {place}: {error.strerror}") from error
    program = _working(comparison, region, writer) if writer is not None else None
    given = program.inputs if program is not None else {"recorded": comparison.array(region.j)}
    values = {**given, "expected": np.asarray(region.value)}
    target = place / f"divergence-{number}"
    temporary = place / f".divergence-{number}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        # Of complex numbers the two parts: safetensors knows no complex128.
        stored = {k: np.ascontiguousarray(real_parts(v)) for k, v in values.items()}
        save_file(stored, temporary / "values.safetensors")
        script = _script(comparison, region, number, program, sides or Sides())
        (temporary / "reproduce.py").write_text(script)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _working(comparison: Comparison, region: Region, writer: Writer) -> Excerpt | None:
    """The faulty operations, if they can be written down and give what was recorded."""
    import jax
    import jax.numpy as jnp

    program = _program(comparison, region, writer)
    if program is None:
        return None
    actual = comparison.array(region.j)
    space: dict[str, Any] = {"jax": jax, "jnp": jnp}
    try:
        with jax.enable_x64(True):
            exec(str(program), space)  # the very lines that are written to the script
            found = np.asarray(space["candidate"](**{k: jnp.asarray(v) for k, v in program.inputs.items()}))
    except Exception:  # something that only looks like JAX: the recorded values are compared instead
        return None
    same = found.shape == actual.shape and np.allclose(found, actual, rtol=RTOL, atol=ATOL, equal_nan=True)
    return program if same else None


def _program(comparison: Comparison, region: Region, writer: Writer) -> Excerpt | None:
    """The faulty operations as lines; None if one of them cannot be written down."""
    trace = comparison.candidate
    steps = sorted({trace.nodes[i].step for i in (*region.candidate_nodes, region.j)})
    if steps[0] < 0 or len(steps) > LARGEST:
        return None
    made = {o for step in steps for o in trace.evaluations[step].outputs}
    inputs: dict[str, Array] = {}
    lines: list[str] = []

    def operand(index: int) -> str:
        array = comparison.array(index)
        if index in made:
            return f"v{index}"
        if array.ndim == 0 and trace.nodes[index].fixed and np.all(np.isfinite(array)):
            number = repr(array.item())
            return f"({number})" if number.startswith("-") else number
        name = _name(trace, index)
        inputs[name] = array
        return name

    for step in steps:
        evaluation = trace.evaluations[step]
        given = [operand(i) for i in evaluation.inputs]
        code = writer(evaluation.operation, given, evaluation.params)
        if code is None:
            return None
        names = ", ".join(f"v{o}" for o in evaluation.outputs)
        alone = evaluation.operation in SEVERAL and len(evaluation.outputs) == 1
        lines.append(f"{names}{',' if alone else ''} = {code}")
    return Excerpt(inputs, [*lines, f"return v{region.j}"])


def _name(trace: Trace, index: int) -> str:
    """A name for a value that goes in: its own, if it has one, and its number."""
    node = trace.nodes[index]
    own = node.operation if node.kind in (NodeKind.WEIGHT, NodeKind.INPUT) else "v"
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in own).strip("_")
    return f"{plain if plain[:1].isalpha() else 'v'}_{index}"


def _script(
    comparison: Comparison, region: Region, number: int, program: Excerpt | None, sides: Sides
) -> str:
    """The text of `reproduce.py`."""
    body = COMPUTED if program is not None else RECORDED
    inputs = program.inputs if program is not None else {}
    held = {**inputs, "expected": np.asarray(region.value)}
    joined = "".join(
        f"values[{name!r}] = jax.lax.complex(values[{name!r}][..., 0], values[{name!r}][..., 1])\n"
        for name, array in held.items()
        if np.iscomplexobj(array)
    )
    return (HEAD + body).format(
        joined=joined,
        number=number,
        candidate=sides.candidate,
        reference=sides.reference,
        candidate_place=_where(comparison.candidate.nodes[region.j].place),
        reference_place=_where(comparison.reference.nodes[region.t].place),
        program=program,
    )


def _where(place: Place) -> str:
    """A place in a docstring: nothing in it may end the string or start an escape."""
    where = f"{place.operation} at {place.file}:{place.line}" if place.file else place.operation
    text = f"{where}, {place.module}" if place.module else where
    return text.replace("\\", "/").replace('"', "'").replace("\n", " ")
