"""Memory and time of the device: the arithmetic, and that what cannot be measured costs no row."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from parity.networks.benchmark import bench_tables as show
from parity.networks.benchmark import busy, by_torch, memory
from parity.networks.benchmark.machine import Limit, Machine
from parity.networks.benchmark.timing import Timing

MIB = 2**20


def test_intervals_count_once_where_they_overlap() -> None:
    assert busy.covered([]) == 0
    assert busy.covered([(5.0, 6.0), (0.0, 4.0), (1.0, 2.0), (3.0, 5.5)]) == 6.0
    assert busy.idle([(1.0, 2.0), (1.5, 3.0)], seconds=8.0) == 0.75
    assert busy.idle([(0.0, 2.0)], seconds=1.0) == 0.0  # clocks of host and device differ a little
    assert busy.idle([], seconds=1.0) is None


def event(start: float, end: float, device: str = "CUDA", annotation: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        time_range=SimpleNamespace(start=1e6 * start, end=1e6 * end),
        device_type=SimpleNamespace(name=device),
        is_user_annotation=annotation,
    )


def test_kernels_alone_are_the_devices_work(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(0, 1), event(0, 9, "CPU"), event(0, 9, annotation=True), event(0.5, 2)]

    class Profile:
        def __init__(self, activities: Any) -> None: ...

        def __enter__(self) -> "Profile":
            return self

        def __exit__(self, *error: object) -> None: ...

        def events(self) -> list[SimpleNamespace]:
            return events

    clock = iter([10.0, 18.0])
    monkeypatch.setattr("torch.profiler.profile", Profile)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert busy.launch_share(lambda: None, "cuda") == pytest.approx(1 - 2 / 8)


def test_a_profiler_that_fails_costs_no_row() -> None:
    def broken() -> None:
        raise RuntimeError("CUPTI is not allowed here")

    assert busy.launch_share(broken, "cuda") is None
    assert busy.launch_share(lambda: None, "cpu") is None


@pytest.mark.skipif(sys.platform != "linux", reason="resident sets are measured on Linux alone")
def test_the_peak_of_the_process_is_seen_though_it_is_gone_afterwards() -> None:
    np.ones(100 * MIB, np.uint8)  # an earlier peak must not count

    def run() -> int:
        return len(np.ones(48 * MIB, np.uint8))

    result, peak = memory.rise(run, "numpy", "cpu")
    assert result == 48 * MIB
    assert peak is not None
    assert 47 * MIB < peak < 60 * MIB
    _, idle = memory.rise(lambda: None, "numpy", "cpu")
    assert idle is not None
    assert idle < MIB


def test_without_a_peak_to_reset_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any) -> None:
        raise PermissionError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refused)
        assert memory.rise(lambda: 3, "jax", "cpu") == (3, None)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.rise(lambda: 4, "jax", "cpu") == (4, None)


def test_allocators_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "synchronize": None,
        "reset_peak_memory_stats": None,
        "memory_allocated": 3,
        "max_memory_allocated": 10,
    }.items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda value=value: value)
    assert memory.rise(lambda: "done", "torch", "cuda") == ("done", 7)

    stats = iter(
        [{"bytes_in_use": 2, "peak_bytes_in_use": 4}, {"bytes_in_use": 2, "peak_bytes_in_use": 9}, None, None]
    )
    monkeypatch.setattr(memory, "jax_device", lambda _: SimpleNamespace(memory_stats=lambda: next(stats)))
    assert memory.rise(lambda: "done", "jax", "cuda") == ("done", 7)
    assert memory.rise(lambda: "done", "jax", "cuda") == ("done", None)
    assert memory.risen({"bytes_in_use": 2, "peak_bytes_in_use": 9}, {"peak_bytes_in_use": 9}) is None


def test_graphs_are_recorded_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[Any] = []
    monkeypatch.setattr("torch.compile", lambda f, mode, dynamic: modes.append(mode) or f)
    form = by_torch.Form("torch", lambda own, x: x, {}, lambda parameters, rate: None, "")
    assert [name for name, *_ in by_torch.compiled_forms(form, "cpu")] == ["torch.compile"]
    assert [name for name, *_ in by_torch.compiled_forms(form, "cuda")] == ["torch.compile", "torch graphs"]
    assert modes == [None, None, "reduce-overhead"]


TIMING = Timing(
    "two_layer_as_coded",
    "torch.compile",
    "",
    epochs=20,
    times=(12.34, 12.34),
    ratios=(123.45,) * 2,
    own_ratios=(1234.5,) * 2,
    compiling=123.4,
    last_loss=0.5,
    peak_bytes=12345 * MIB,
    limit=Limit(6.17, 10.0),
    launch_share=0.25,
)


def printed(timings: list[Timing], device: str) -> str:
    with (console := Console(width=80)).capture() as capture:
        show.print_timings(console, Machine(device, 1e12, 1e13), timings)
    return capture.get()


def test_the_widest_row_fits_80_columns_on_a_gpu_too() -> None:
    other = dataclasses.replace(
        TIMING,
        program="sklearn lbfgs",
        per="iteration",
        note="by lbfgs",
        limit=None,
        ratios=(),
        own_ratios=(),
    )
    text = printed([TIMING, other, dataclasses.replace(TIMING, program="torch vmap", models=64)], "cuda")
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    row = next(line for line in text.splitlines() if "123.4" in line).split()
    assert row[:6] == ["two_layer_as_coded", "torch.compile", "12340", "0%", "123", "1234"]
    assert row[6:] == ["123.4", "12345", "81%"]
    shares = next(line for line in text.splitlines() if line.rstrip().endswith("compute"))
    assert shares.split() == ["two_layer_as_coded", "torch.compile", "50%", "81%", "25%", "compute"]
    said = " ".join(text.split())
    assert "by lbfgs; ms per iteration of this other algorithm. Validation loss after 20: 0.5" in said
    assert "1 of the 64 runs were trained" in said
    assert "launch" not in printed([TIMING], "cpu")


def test_the_data_say_what_sets_the_limit() -> None:
    bare = dataclasses.replace(TIMING, times=(), limit=None)
    environment = dataclasses.make_dataclass("E", [])()
    rows = show.timings_as_data(Machine("cpu", 1.0, 1.0), [TIMING, bare], environment)["timings"]
    assert rows[0]["limit"] == 10.0
    assert rows[0]["limit_set_by"] == "compute"
    assert rows[0]["memory_share"] == 0.5
    assert rows[0]["launch_share"] == 0.25
    assert rows[1]["times"] == ()
