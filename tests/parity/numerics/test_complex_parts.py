"""Complex numbers are two real ones: their parts, their noise, their moves, their slopes, their yardstick."""

import numpy as np
import torch

from parity.numerics.arrays import in_float32, round_to, to_jax, to_numpy, to_numpy_narrow, to_torch
from parity.numerics.complex_parts import of_parts, real_parts
from parity.numerics.finite_differences import measure_slope, probe_gradients
from parity.numerics.moved_weights import jittered
from parity.numerics.noise import Subject, Values, measure
from parity.numerics.perturbing import perturb
from parity.numerics.yardstick import FORWARD, judge_quantities
from parity.report.results import Verdict
from parity.trace.rounded_constants import constant

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((3, 4)) + 1j * RNG.standard_normal((3, 4))


def test_parts_and_back() -> None:
    for array in (Z, Z.T, Z[:, 1:], Z[0, 0], Z.astype(np.complex64), Z[:0]):
        parts = real_parts(np.asarray(array))
        assert parts.shape == (*np.shape(array), 2)
        np.testing.assert_array_equal(of_parts(parts), array)


def test_arrays_keep_both_parts() -> None:
    narrow = in_float32(Z)
    assert narrow.dtype == np.complex64
    assert to_numpy_narrow(narrow.astype(np.complex128)).dtype == np.complex64
    np.testing.assert_array_equal(round_to(Z, "float32"), narrow)
    assert round_to(Z, "bfloat16").real[0, 0] == round_to(Z.real, "bfloat16")[0, 0]
    for dtype, held in (("float64", np.complex128), ("float32", np.complex64)):
        tensor = to_torch(Z, dtype)
        np.testing.assert_array_equal(to_numpy(tensor.conj()), Z.conj().astype(held))
    assert str(to_jax(Z, "float32").dtype) == "complex64"
    assert to_torch(Z, "float32").dtype is torch.complex64


def test_noise_and_moves_reach_both_parts() -> None:
    moved = [perturb({"z": Z}, k, 2.0**-52, inputs=False)["z"] for k in range(4)]
    for part in ("real", "imag"):
        assert any((getattr(m, part) != getattr(Z, part)).any() for m in moved)
    assert max(np.abs(real_parts(m) / real_parts(Z) - 1).max() for m in moved) < 2.0**-51
    elsewhere = jittered({"z": Z})["z"]
    assert elsewhere.dtype == np.complex64
    assert (elsewhere.real != Z.real).all()
    assert (elsewhere.imag != Z.imag).all()


def program(weights: dict[str, np.ndarray], inputs: dict[str, np.ndarray], dtype: str) -> Values:
    z = in_float32(weights["z"]) if dtype == "float32" else np.asarray(weights["z"], np.complex128)
    loss = np.asarray((z.real**2 + 3 * z.imag + z.real * z.imag).sum(), np.float64)
    gradient = 2 * z.real + z.imag + 1j * (3 + z.real)
    return {"outputs": {"z": z * z}, "loss": {"loss": loss}, "gradients": {"z": gradient}}


def test_a_gradient_is_that_of_both_parts() -> None:
    slope = measure_slope(Subject(program, {"z": Z}), {}, ["z"])
    right = program({"z": Z}, {}, "float64")["gradients"]["z"]
    sides = {"reference": {"z": right}, "candidate": {"z": right.conj()}}
    probed = probe_gradients(lambda names: slope, ["z"], sides, {}, differing=["z"])
    verdicts = [quantity.verdict for quantity in probed.quantities]
    assert verdicts == [Verdict.PASS, Verdict.FAIL]
    both = {side: {"z": right.conj()} for side in sides}
    assert probe_gradients(lambda names: slope, ["z"], both, {}, differing=[]).shared


def test_the_yardstick_sees_either_part() -> None:
    def faulty(*args: object) -> Values:
        values = program(*args)  # type: ignore[arg-type]
        shifted = values["outputs"]["z"].copy()
        shifted[1, 2] += 1e-6j
        return {**values, "outputs": {"z": shifted}}

    subjects = {"right": Subject(program, {"z": Z}), "faulty": Subject(faulty, {"z": Z})}
    sides = measure(subjects, {}, ["float64"])
    rules = {"outputs": FORWARD["outputs"]}
    (same,) = judge_quantities(sides["right"], sides["right"], rules)
    (other,) = judge_quantities(sides["right"], sides["faulty"], rules)
    assert (same.verdict, other.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert (other.index, other.shape) == ((1, 2), (3, 4))


def test_constants_are_restored_by_parts() -> None:
    held = constant(np.complex64([0.1 + 0.2j, 1j, 0.70710677 - 2.5j]))
    np.testing.assert_array_equal(held, [0.1 + 0.2j, 1j, 0.5**0.5 - 2.5j])
    assert constant(np.asarray(np.complex64(0.1j))).shape == ()
