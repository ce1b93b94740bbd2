"""The table of --compare and the figure of --plot."""

import matplotlib.figure
import matplotlib.image
import pytest

from model_batchnorm import comparison, plot

RESULTS = {
    "with Batch Normalization": {
        "accuracy": [0.8, 0.95, 0.99], "loss": [0.7, 0.2, 0.1],
        "val_accuracy": [0.85, 0.9, 0.89], "val_loss": [0.5, 0.3, 0.31],
        "seconds": [3.0, 4.25, 6.0], "test_loss": 0.52174, "test_accuracy": 0.8659,
    },
    "without Batch Normalization": {
        "accuracy": [0.5, 0.8], "loss": [1.4, 0.7], "val_accuracy": [0.6, 0.8999],
        "val_loss": [1, 0.6], "seconds": [2.0, 3.0], "test_loss": 0.7, "test_accuracy": 0.81,
    },
}


def rows(results):
    table = [line.split("  ") for line in comparison(results).splitlines()]
    return [[cell.strip() for cell in row if cell.strip()] for row in table]


def test_comparison():
    assert rows(RESULTS) == [
        ["with Batch Normalization", "without Batch Normalization"],
        ["Test accuracy", "0.8659", "0.8100"],
        ["Test loss", "0.5217", "0.7000"],
        ["Best validation accuracy (epoch)", "0.9000 (2)", "0.8999 (2)"],
        ["Epochs to 90% validation accuracy", "2", "never"],
        ["Seconds to it", "4.2", "never"],
        ["Seconds an epoch", "2.00", "1.50"],
    ]


def test_comparison_without_validation_and_without_a_finished_epoch():
    without_validation = {"accuracy": [0.5], "loss": [1], "seconds": [2.0]}
    test = {"test_loss": 1, "test_accuracy": 0.5}
    table = rows({"one": without_validation | test, "other": {"seconds": []} | test})
    assert [row[1:] for row in table[3:]] == [["-", "-"]] * 3 + [["2.00", "-"]]


@pytest.mark.parametrize("suffix, start", [
    ("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot_in_each_format(tmp_path, suffix, start):
    path = tmp_path / f"curves.{suffix}"
    plot(RESULTS, path)
    assert path.read_bytes().startswith(start)
    if suffix == "png":
        pixels = matplotlib.image.imread(path)[..., :3]
        for color in (0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00):
            assert (abs(pixels * 255 - color).max(axis=-1) < 2).sum() > 500


def figure_of(results, monkeypatch, tmp_path):
    figures = []
    savefig = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig",
                        lambda self, *a, **k: figures.append(self) or savefig(self, *a, **k))
    plot(results, tmp_path / "curves.svg")
    return figures[0].axes


def test_plot_shows_all_curves(monkeypatch, tmp_path):
    axes = figure_of(RESULTS, monkeypatch, tmp_path)
    assert [(a.get_xlabel(), a.get_ylabel()) for a in axes] == [
        ("Epoch", "Accuracy"), ("Epoch", "Loss")]
    for a, quantity in zip(axes, ("accuracy", "loss")):
        assert [text.get_text() for text in a.get_legend().get_texts()] == [
            f"{kind}, {name}" for name in RESULTS for kind in ("training", "validation")]
        drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in a.lines]
        assert drawn == [
            (list(range(1, len(result[key]) + 1)), result[key])
            for result in RESULTS.values() for key in (quantity, "val_" + quantity)]
        looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in a.lines]
        assert len(set(looks)) == 4


def test_plot_without_validation_and_without_a_finished_epoch(monkeypatch, tmp_path, recwarn):
    axes = figure_of({"one": {"accuracy": [0.5], "loss": [1]}}, monkeypatch, tmp_path)
    assert [len(a.lines) for a in axes] == [1, 1]
    plot({"one": {}}, tmp_path / "empty.png")
    assert not recwarn.list
