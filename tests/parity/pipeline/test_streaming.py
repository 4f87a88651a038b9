"""Recordings with `stream`: weights read at each use, values written as they come."""

import gc
import weakref
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

import parity
from parity.cli import main
from parity.pipeline.recordings import read
from parity.report.results import Report, Stage, Verdict

LAYERS, WIDTH, HIDDEN, WORDS = 3, 8, 16, 20

Place = pytest.TempPathFactory


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Network(nn.Module):
    """An embedding that is also the head, tied."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def candidate(activation: Any) -> Any:
    def block(x: jax.Array, p: Any) -> tuple[jax.Array, None]:
        wide = x.astype(jnp.float32)  # as in PyTorch's kernel
        mean = wide.mean(-1, keepdims=True)
        variance = ((wide - mean) ** 2).mean(-1, keepdims=True)
        h = (wide - mean) * jax.lax.rsqrt(variance + 1e-5) * p["scale"] + p["beta"]
        h = h.astype(x.dtype)
        h = activation(h @ p["up"] + p["up_bias"])  # the line of the fault
        return x + h @ p["down"] + p["down_bias"], None

    def apply(params: Any, tokens: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(block, params["embed"][tokens], params["blocks"])
        return x @ params["embed"].T

    return apply


def exact(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


def rough(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=True)


def template(dtype: str = "float32") -> Any:
    sizes = {"scale": (WIDTH,), "beta": (WIDTH,), "up": (WIDTH, HIDDEN), "up_bias": (HIDDEN,)}
    sizes |= {"down": (HIDDEN, WIDTH), "down_bias": (WIDTH,)}
    blocks = {name: jax.ShapeDtypeStruct((LAYERS, *size), dtype) for name, size in sizes.items()}
    return {"embed": jax.ShapeDtypeStruct((WORDS, WIDTH), dtype), "blocks": blocks}


def on_meta(kind: type[nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return kind().eval()


def stored(module: nn.Module, file: Path) -> Path:
    save_file({name: p.detach().clone() for name, p in module.named_parameters()}, file)
    return file


def tokens() -> dict[str, np.ndarray]:
    return {"tokens": np.arange(6).reshape(2, 3)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: Place) -> Path:
    """A directory with the weights in float32."""
    where = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stored(Network(), where / "all.safetensors")
    return where


@pytest.fixture(scope="module")
def reference(weights: Path, tmp_path_factory: Place) -> Path:
    where = tmp_path_factory.mktemp("reference")
    record(where, reference=on_meta(Network), inputs=tokens(), weights_file=weights)
    return where


def record(where: Path, **arguments: Any) -> None:
    parity.record(where, stream=True, **arguments)


def compared(reference: Path, where: Path, activation: Any = exact, **changes: Any) -> Report:
    arguments = {"candidate": candidate(activation), "template": template(), **changes}
    record(where, against=reference, **arguments)
    return parity.compare(where, reference)


def test_a_right_pair_passes_in_float64_and_its_own_dtype(reference: Path, tmp_path: Path) -> None:
    report = compared(reference, tmp_path)
    assert report.verdict is Verdict.PASS
    assert report.dtypes == ("float64", "float32")
    assert {q.group for q in report.quantities} == {"outputs"}
    assert any("blocks.1.up.weight" in row[0] and "into [1" in row[2] for row in report.plan)
    told = " ".join(report.not_checked)
    assert "gradients: with `stream` the forward pass alone" in told
    assert "other weights than these" in told
    assert "weights-0.safetensors" not in {path.name for path in reference.iterdir()}


def test_a_wrong_pair_fails_with_its_place_on_both_sides(reference: Path, tmp_path: Path) -> None:
    report = compared(reference, tmp_path, rough)
    assert report.verdict is Verdict.FAIL
    (divergence,) = report.divergences
    assert divergence.stage is Stage.FORWARD
    code = [places[0].code for places in (divergence.reference, divergence.candidate)]
    assert "F.gelu(self.up" in code[0]
    assert "approximate=True" in code[1]
    assert divergence.candidate[0].step == "scan step 0"
    assert all(places[0].file == __file__ for places in (divergence.reference, divergence.candidate))
    assert "no cause was tried" in " ".join(str(report).split())


def test_a_fault_behind_the_first_layer_is_found_behind_what_agrees(reference: Path, tmp_path: Path) -> None:
    def late(params: Any, words: jax.Array) -> jax.Array:
        return candidate(exact)(params, words) * 1.001  # scaled

    report = compared(reference, tmp_path, candidate=late)
    assert "scaled" in report.divergences[0].candidate[0].code


def test_values_are_those_of_an_ordinary_recording(weights: Path, reference: Path, tmp_path: Path) -> None:
    module = Network()
    module.load_state_dict(load_file(weights / "all.safetensors"), strict=False)  # the head is tied
    parity.record(tmp_path, reference=module.eval(), inputs=tokens())
    whole, streamed = read(tmp_path), read(reference)
    for dtype, side in streamed.runs[""].items():
        other = whole.runs[""][dtype]
        for one, two in ((side.base, other.base), (side.moves, other.moves)):
            np.testing.assert_array_equal(one["outputs"]["output"], two["outputs"]["output"])
    assert {*whole.weights} == {*streamed.weights}
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, streamed.weights[name])


@pytest.mark.parametrize("activation", [exact, rough])
def test_models_stored_in_bfloat16_are_judged_in_it(tmp_path: Path, activation: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        file = stored(Network().to(torch.bfloat16), tmp_path / "half.safetensors")
    there = tmp_path / "reference"
    record(there, reference=on_meta(Network), inputs=tokens(), weights_file=file)
    report = compared(there, tmp_path / "candidate", activation, template=template("bfloat16"))
    assert report.dtypes == ("float64", "bfloat16")
    assert report.verdict is (Verdict.PASS if activation is exact else Verdict.FAIL)
    with pytest.raises(ValueError, match=r"recorded in float64, bfloat16; record the reference with dtypes="):
        compared(there, tmp_path / "other", template=template("float32"))


def test_weights_of_the_module_itself_are_kept_beside_the_recording(weights: Path, tmp_path: Path) -> None:
    state = load_file(weights / "all.safetensors")
    torch.save(state, tmp_path / "state.pt")
    module = on_meta(Network)
    mapped = torch.load(tmp_path / "state.pt", mmap=True)
    module.load_state_dict({**mapped, "head.weight": mapped["embed.weight"]}, assign=True)
    module.head.weight = module.embed.weight
    record(tmp_path / "reference", reference=module, inputs=tokens())
    assert (tmp_path / "reference" / "weights-0.safetensors").is_file()
    assert compared(tmp_path / "reference", tmp_path / "candidate").verdict is Verdict.PASS


class Square(nn.Module):
    """Two weights of one shape, whose names say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.randn(4, 4)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.a) @ self.b


def square(params: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["first"]) @ params["second"]


def test_what_names_and_shapes_leave_open_is_settled_by_running(tmp_path: Path) -> None:
    x = {"x": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
    record(tmp_path / "reference", reference=Square(), inputs=x)
    shapes = {name: jax.ShapeDtypeStruct((4, 4), jnp.float32) for name in ("first", "second")}
    report = compared(tmp_path / "reference", tmp_path / "candidate", candidate=square, template=shapes)
    assert report.verdict is Verdict.PASS


def test_a_jax_reference_and_a_candidate_in_pytorch(tmp_path: Path) -> None:
    module = Square()
    arrays = {"a": module.a.detach().clone(), "b": module.b.detach().clone()}
    save_file(arrays, tmp_path / "w.safetensors")

    def reference(params: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ params["a"]) @ params["b"]

    shapes = {name: jax.ShapeDtypeStruct((4, 4), jnp.float32) for name in arrays}
    x = {"x": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
    there = tmp_path / "reference"
    files = {"weights_file": tmp_path / "w.safetensors", "reference_params": shapes}
    record(there, reference=reference, inputs=x, **files)
    record(tmp_path / "candidate", candidate=on_meta(Square), against=there)
    assert parity.compare(there, tmp_path / "candidate").verdict is Verdict.PASS


def test_of_the_weights_one_is_in_memory_at_a_time(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parity.frameworks.torch import torch_unread

    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0
    plain = torch_unread._read

    def watched(*args: Any) -> torch.Tensor:
        nonlocal most
        most = max(most, sum(one() is not None for one in alive))
        tensor = plain(*args)
        alive.append(weakref.ref(tensor))
        return tensor

    gc.collect()
    monkeypatch.setattr(torch_unread, "_read", watched)
    record(tmp_path, reference=on_meta(Network), inputs=tokens(), weights_file=weights)
    assert len(alive) > 100
    assert most <= 3  # of a layer with a bias, and what a view of the last one still holds


def test_progress_says_what_is_read(weights: Path, tmp_path: Path) -> None:
    said: list[str] = []
    record(tmp_path, reference=on_meta(Network), inputs=tokens(), weights_file=weights, progress=said.append)
    assert "noise in float32, 2 of 4: blocks.1.up.weight" in said
    assert "writing every value: embed.weight" in said


class WithTable(Square):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.ones(4), persistent=False)


class Written(Square):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.a.mul_(0.5)
        return super().forward(x)


class TestErrors:
    def test_files_that_do_not_fit(self, weights: Path, tmp_path: Path) -> None:
        module, where = Network(), {"where": tmp_path / "out", "inputs": tokens()}
        with pytest.raises(ValueError, match=r"have shapes but no numbers.*weights_file"):
            record(reference=on_meta(Network), **where)
        with pytest.raises(ValueError, match="does not exist; give the safetensors file"):
            record(reference=module, weights_file=tmp_path / "no.safetensors", **where)
        state = load_file(weights / "all.safetensors")
        del state["blocks.0.up.bias"]
        state["embed.weight"] = state["embed.weight"][:5].clone()
        save_file(state, tmp_path / "part.safetensors")
        with pytest.raises(ValueError, match=r"embed.weight has shape \(5, 8\).*blocks.0.up.bias is missing"):
            record(reference=module, weights_file=tmp_path / "part.safetensors", **where)
        (tmp_path / "broken.safetensors").write_bytes(b"no")
        with pytest.raises(ValueError, match=r"broken.safetensors is not a readable safetensors file"):
            record(reference=module, weights_file=tmp_path / "broken.safetensors", **where)
        both = [weights / "all.safetensors", tmp_path / "part.safetensors"]
        with pytest.raises(ValueError, match=r"'blocks.0.down.bias' is both in .* and in"):
            record(reference=module, weights_file=both, **where)

    def test_files_that_changed_or_hold_more(self, tmp_path: Path) -> None:
        module, x = Square(), {"x": np.ones((2, 4), np.float32)}
        state = {"a": module.a.detach().clone(), "b": module.b.detach().clone(), "c": torch.ones(3)}
        save_file(state, tmp_path / "w.safetensors")
        there = tmp_path / "reference"
        record(there, reference=on_meta(Square), inputs=x, weights_file=tmp_path / "w.safetensors")
        assert "hold c, which PyTorch does not have" in " ".join(read(there).findings).replace(
            "<reference>", "PyTorch"
        )
        save_file({**state, "b": state["b"] + 1}, tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=r"w.safetensors: changed since the reference was recorded"):
            record(tmp_path / "candidate", candidate=Square(), against=there)

    def test_numbers_that_say_nothing(self, tmp_path: Path) -> None:
        module = Square()
        save_file({"a": module.a.detach(), "b": torch.full((4, 4), torch.nan)}, tmp_path / "w.safetensors")
        x = {"x": np.ones((2, 4), np.float32)}
        with pytest.raises(ValueError, match="the PyTorch weights b have NaN"):
            record(tmp_path / "out", reference=module, inputs=x, weights_file=tmp_path / "w.safetensors")

    def test_models_that_cannot_be_streamed(self, tmp_path: Path) -> None:
        x = {"x": np.ones((2, 4), np.float32)}
        file = stored(Square(), tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=r"the buffers table .* meta device and are not saved"):
            record(tmp_path / "out", reference=on_meta(WithTable), inputs=x, weights_file=file)
        with pytest.raises(ValueError, match=r"writes to its weights a .*\(mul_\); that cannot be recorded"):
            record(tmp_path / "out", reference=Written(), inputs=x, weights_file=file)

    def test_one_side_streamed_and_the_other_not(self, reference: Path, tmp_path: Path) -> None:
        here = {"candidate": candidate(exact), "template": template()}
        with pytest.raises(ValueError, match="recorded with `stream`"):
            parity.record(tmp_path / "candidate", against=reference, **here)
        with pytest.raises(ValueError, match="recorded with `stream`"):
            parity.compare(reference, here)
        parity.record(tmp_path / "whole", reference=Network().eval(), inputs=tokens())
        with pytest.raises(ValueError, match="recorded without `stream`"):
            record(tmp_path / "candidate", against=tmp_path / "whole", **here)
        parity.record(tmp_path / "candidate", against=tmp_path / "whole", **here)
        with pytest.raises(ValueError, match="one of the recordings was made with `stream`"):
            parity.compare(reference, tmp_path / "candidate")

    def test_arguments_that_go_with_another(self, reference: Path, weights: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="`params` are the candidate's own"):
            compared(reference, tmp_path / "out", params={"x": np.ones(3)}, template=None)
        with pytest.raises(ValueError, match="`weights_file` is read one tensor at a time"):
            parity.check(Network(), candidate(exact), tokens(), weights=parity.Weights(weights_file=weights))
        with pytest.raises(ValueError, match="leave `trace` out"):
            record(tmp_path / "out", reference=Network(), inputs=tokens(), trace=True)

    def test_a_directory_that_cannot_be_written(
        self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.access", lambda path, mode: False)
        with pytest.raises(ValueError, match=r"cannot record to .*out: it may not be written to"):
            record(tmp_path / "out", reference=on_meta(Network), inputs=tokens(), weights_file=weights)


def test_the_commands(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pair.py").write_text(
        "from tests.parity.pipeline import test_streaming as t\n"
        "def parity_check():\n"
        "    return {'reference': t.on_meta(t.Network), 'candidate': t.candidate(t.rough),\n"
        f"            'template': t.template(), 'inputs': t.tokens(), 'weights_file': {str(weights)!r}}}\n"
    )
    run = CliRunner().invoke
    there = ["record", "pair.py", "reference", "--side", "reference", "--stream"]
    result = run(main, there)
    assert result.exit_code == 0, result.output
    here = ["record", "pair.py", "candidate", "--side", "candidate", "--against", "reference"]
    assert "recorded with `stream`" in run(main, here).output
    assert run(main, [*here, "--stream"]).exit_code == 0
    result = run(main, ["compare", "reference", "candidate"])
    assert result.exit_code == 1
    assert "first divergence (forward)" in result.output
    assert run(main, [*there, "--trace"]).exit_code == 2
