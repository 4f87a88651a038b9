import csv

import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import heatmap

RATES = (0.0, 0.01, 0.1, 1.0)


def made(scales=(1.0,), decays=(0.0,), rates=RATES, starts=2, epochs=3):
    """Results without training: accuracies from a generator."""
    columns = np.meshgrid(np.arange(starts), scales, decays, rates, indexing="ij")
    settings = {
        name: c.ravel()
        for name, c in zip(("start", "scale", "weight_decay", "learning_rate"), columns, strict=True)
    }
    runs = columns[0].size
    rng = np.random.default_rng(0)
    history = {
        "step_loss": jnp.asarray(rng.random((runs, epochs, 2))),
        "val_accuracy": jnp.asarray(rng.random((runs, epochs))),
        "val_margin": jnp.asarray(rng.random((runs, epochs, 5))),
    }
    return jaxnn.Sweep({"w": jnp.zeros((runs, 2))}, history, settings)


def diverging(runs, run, epoch):
    """The same results, where a run's loss is not finite from an epoch on; its accuracy still is."""
    losses = np.array(runs.history["step_loss"])
    losses[run, epoch:] = np.nan
    return runs._replace(history={**runs.history, "step_loss": jnp.asarray(losses)})


def test_the_table_has_a_row_per_run_and_epoch():
    runs = made(scales=(1.0, 2.0))
    table = runs.table()
    assert list(table) == [
        "run",
        "start",
        "scale",
        "weight_decay",
        "learning_rate",
        "epoch",
        "val_accuracy",
    ]
    assert {len(column) for column in table.values()} == {16 * 3}
    for i in range(48):
        run, epoch = i // 3, i % 3
        assert (table["run"][i], table["epoch"][i]) == (run, epoch + 1)
        assert table["learning_rate"][i] == runs.settings["learning_rate"][run]
        assert table["scale"][i] == (1.0, 2.0)[run // 4 % 2]
        assert table["val_accuracy"][i] == runs.history["val_accuracy"][run, epoch]


def test_the_table_holds_what_numpy_knows():
    runs = made()
    coarse = runs._replace(history={"val_accuracy": runs.history["val_accuracy"].astype(jnp.bfloat16)})
    assert coarse.table()["val_accuracy"].dtype == np.float32


def test_the_file_reads_back_exactly(tmp_path):
    runs = made()
    runs.history["val_accuracy"] = runs.history["val_accuracy"].at[1, 0].set(jnp.nan)
    path = tmp_path / "runs.csv"
    path.write_text("old")
    runs.save(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, column in runs.table().items():
        np.testing.assert_array_equal(np.array([r[name] for r in rows]).astype(column.dtype), column)
    assert [p.name for p in tmp_path.iterdir()] == ["runs.csv"]
    with pytest.raises(ValueError, match=r"`path` is .*does not exist; make it first"):
        runs.save(tmp_path / "nowhere" / "runs.csv")


def test_an_interrupted_file_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "runs.csv"
    path.write_text("old")
    monkeypatch.setattr("jaxnn.results.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        made().save(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["runs.csv"]


def test_best_is_the_row_with_the_extreme():
    runs = made()
    values = np.asarray(runs.history["val_accuracy"])
    for largest, extreme in ((True, values.max()), (False, values.min())):
        best = runs.best(largest=largest)
        assert best["val_accuracy"] == extreme == values[best["run"], best["epoch"] - 1]
        assert best["learning_rate"] == runs.settings["learning_rate"][best["run"]]


def test_the_accuracy_of_a_diverged_run_is_never_best():
    runs = made()
    best = runs.best()
    after = diverging(runs, best["run"], best["epoch"] - 1).best()
    assert (after["run"], after["epoch"]) != (best["run"], best["epoch"])
    for run in range(8):
        runs = diverging(runs, run, 0)
    with pytest.raises(ValueError, match="finite in no run"):
        runs.best()


def test_a_wrong_metric_is_named_with_the_right_ones(tmp_path):
    for name in ("accuracy", "step_loss", "val_margin"):
        with pytest.raises(ValueError, match=f"`metric` is '{name}': it must be one of 'val_accuracy'"):
            made().best(name)
        with pytest.raises(ValueError, match=f"`metric` is '{name}'"):
            made().figure(tmp_path / "f.png", name)


@pytest.mark.parametrize(
    "runs",
    [
        made(),
        made(starts=1, rates=(0.1,), epochs=1),
        made(rates=(0.0, 0.1)),
        made(rates=(-0.1, 0.1, 0.3)),
        made(rates=(0.1, 0.1)),
        made(rates=(0.0, 1e-9, 1e-3, 1e9)),
        made(scales=(0.5, 1.0, 2.0), decays=(0.0, 0.1)),
        made(scales=np.arange(5.0), starts=1),
    ],
    ids=["zero", "one", "linear", "negative", "repeated", "wide", "grid", "wrapped"],
)
def test_figures_of_all_kinds_of_sweeps(runs, tmp_path):
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        runs.figure(tmp_path / f"f.{kind}")
        assert (tmp_path / f"f.{kind}").read_bytes().startswith(start)
    gone = runs
    for run in range(len(runs.settings["start"])):
        gone = diverging(gone, run, 0)
    gone.figure(tmp_path / "f.png")


def test_a_figure_says_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("matplotlib").rcParams, "svg.fonttype", "none")  # text stays text
    runs = made(decays=(0.0, 0.5))
    runs.figure(tmp_path / "f.svg")
    text = (tmp_path / "f.svg").read_text()
    for words in ("epoch", "learning rate", "weight decay 0.5", "validation accuracy (median of 2 starts)"):
        assert words in text
    assert "diverged" not in text
    medians = np.median(np.asarray(runs.history["val_accuracy"]).reshape(2, 2, 4, 3), axis=0)
    for panel in medians:
        rate, epoch = np.unravel_index(panel.argmax(), panel.shape)
        assert f"best {panel.max():.4g} at rate {RATES[rate]:.3g}, epoch {epoch + 1}" in text
    diverging(runs, 3, 1).figure(tmp_path / "f.svg")
    assert "diverged: not finite" in (tmp_path / "f.svg").read_text()


def test_figures_leave_the_backend_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    made().figure(tmp_path / "f.png")
    assert dict(matplotlib.rcParams) == before


def test_figures_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="5 scales and 3 weight decays, a panel for each pair: at most 12"):
        made(scales=np.arange(5.0), decays=np.arange(3.0)).figure(tmp_path / "f.png")
    with pytest.raises(ValueError, match="`path` ends with 'txt': it must end with an image format"):
        made().figure(tmp_path / "f.txt")
    with pytest.raises(ValueError, match="does not exist; make it first"):
        made().figure(tmp_path / "nowhere" / "f.png")
    assert list(tmp_path.iterdir()) == []


def test_a_zero_rate_stands_below_the_logarithmic_ones():
    edges = heatmap._edges(np.array([0.0, 0.01, 0.1, 1.0]))
    np.testing.assert_allclose(np.log10(edges), [-3.5, -2.5, -1.5, -0.5, 0.5])
    np.testing.assert_allclose(heatmap._edges(np.array([0.0, 1.0, 3.0])), [-0.5, 0.5, 2.0, 4.0])
