"""What if it stays in training mode?"""

import numpy as np
import pandas as pd

import figures
import runs
import tables
from runs import Run

SEEDS = 5
RUNS = {"the default network": Run(epochs=25)}
KINDS = {
    "moving": "the moving averages, as in `predict`",
    "250": "shuffled batches of 250",
    "8": "shuffled batches of 8",
    "sorted": "batches of 250 sorted by class",
    "1": "one image at a time",
}


class TrainingMode(runs.Measurement):
    """Tests the network with `training=True`, in several kinds of batches."""

    settings = {  # the batches' size, and whether they are sorted by class
        "250": (250, False),
        "8": (8, False),
        "sorted": (250, True),
        "1": (1, False),
    }

    def on_train_end(self, logs=None):
        _, (x_test, y_test) = self.data
        results = self.model.evaluate(x_test, y_test, batch_size=250, verbose=0)
        self.result = {"moving": results[1]}
        for kind, (size, by_class) in self.settings.items():
            order = np.random.default_rng(0).permutation(len(x_test))
            if by_class:
                order = order[np.argsort(y_test[order], kind="stable")]
            self.result[kind] = runs.accuracy(
                self.model, x_test[order], y_test[order], size, training=True
            )


MEASUREMENT = TrainingMode


def accuracies(found):
    """Return the test accuracies, labelled by how the network normalizes."""
    by_kind = pd.DataFrame([TrainingMode.of(line) for line in found.iloc[:, 0]])
    return by_kind.rename(columns=KINDS).unstack().rename("test accuracy")


def report(found):
    reference = KINDS["moving"]
    yield tables.table([accuracies(found)], "normalized by", reference)


def draw(found):
    figure, axes = figures.new(size=(7, 3.2))
    means = tables.by_label(accuracies(found), "mean")[::-1]
    in_predict = means.index == KINDS["moving"]
    for these, color, label in (
        (~in_predict, "lightgray", "training mode: model(x, training=True)"),
        (in_predict, "C0", "inference mode, as in predict()"),
    ):
        names = means.index[these].str.removesuffix(", as in `predict`")
        bars = axes.barh(names, means[these], color=color, label=label)
        axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.set(xlim=(0, 1.12), xlabel="test accuracy of the same networks")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure
