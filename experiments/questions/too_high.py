"""With plain SGD: where does a rate that is too high fail?"""

from dataclasses import replace

import numpy as np

import runs
import tables
from questions import dead_units, sgd_learning_rates, weight_decay
from runs import WITH, WITHOUT

SEEDS = 5
RATES = {
    "0.1": {"learning_rate": 0.1},
    "1.0": {"learning_rate": 1.0},
    "3.0": {"learning_rate": 3.0},
    "1.0, last layer 0.3": {"learning_rate": 1.0, "last_learning_rate": 0.3},
    "3.0, last layer 0.3": {"learning_rate": 3.0, "last_learning_rate": 0.3},
}
RUNS = {
    (name, label): replace(sgd_learning_rates.RUNS[name, 0.1], **rates)
    for label, rates in RATES.items()
    for name in (WITH, WITHOUT)
}


class Failure(runs.Measurement):
    """Measures what a failure can be seen by, after the training.

    The lengths of the kernels, each all its weights as one vector; the fraction of all
    weights that are NaN; and the fraction of the hidden Dense layer's units that ReLU
    makes zero for all validation images.
    """

    def on_train_end(self, logs=None):
        weights = np.concatenate([of.ravel() for of in self.model.get_weights()])
        units = dead_units.hidden_units(self.model)
        self.result = {
            "lengths": runs.kernel_lengths(self.model),
            "nan": float(np.isnan(weights).mean()),
            "dead": dead_units.dead(units, self.data),
        }


MEASUREMENT = Failure


def report(found):
    yield tables.medians(tables.after(found, "test_accuracy"), "learning rate")


def details(found):
    yield tables.grid(tables.after(found, "test_accuracy"), "learning rate")
    nan = tables.values(
        found,
        "fraction of the weights that are NaN",
        lambda line: Failure.of(line)["nan"],
    )
    dead = tables.values(
        found, "fraction of dead units", lambda line: Failure.of(line)["dead"]
    )
    for series in nan, dead.where(nan == 0):
        cells = tables.by_network(series, tables.every)
        yield tables.markdown(cells, f"learning rate ({series.name}, by seed)")
    loss = tables.values(
        found, "training loss", lambda line: line["history"]["loss"][-1]
    )
    lengths = weight_decay.lengths(found, lambda line: Failure.of(line)["lengths"])
    yield tables.table([loss, *lengths], "network, learning rate")
