"""With plain SGD: where does a rate that is too high fail?"""

from dataclasses import replace

import keras
import numpy as np

import runs
import tables
from questions import sgd_learning_rates
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
        _, (images, _) = runs.split(self.data)
        weights = np.concatenate([of.ravel() for of in self.model.get_weights()])
        relus = [
            layer for layer in self.model.layers if isinstance(layer, keras.layers.ReLU)
        ]
        units = keras.Model(self.model.inputs[0], relus[-1].output)
        outputs = units.predict(images, batch_size=250, verbose=0)
        self.result = {
            "lengths": runs.kernel_lengths(self.model),
            "nan": float(np.isnan(weights).mean()),
            "dead": float((outputs <= 0).all(axis=0).mean()),
        }


MEASUREMENT = Failure


NAMES = {
    ("nan",): "fraction of the weights that are NaN",
    ("dead",): "fraction of Dense's units that are dead",
    ("lengths", 0): "length of the first convolution's kernel",
    ("lengths", 1): "length of the second convolution's kernel",
    ("lengths", 2): "length of the hidden Dense layer's kernel",
    ("lengths", 3): "length of the last layer's kernel",
}


def measured(found):
    """Return what Failure measured, a Series for each of NAMES."""

    def number(line, keys):
        result = Failure.of(line)
        for key in keys:
            result = result[key]
        return np.nan if result is None else result

    return [
        tables.values(found, name, lambda line, keys=keys: number(line, keys))
        for keys, name in NAMES.items()
    ]


def report(found):
    yield tables.medians(tables.after(found, "test_accuracy"), "learning rate")


def details(found):
    yield tables.grid(tables.after(found, "test_accuracy"), "learning rate")
    nan, dead, *lengths = measured(found)
    for series in nan, dead.where(nan == 0):
        cells = tables.by_network(series, tables.every)
        yield tables.markdown(cells, f"learning rate ({series.name}, by seed)")
    loss = tables.values(
        found, "training loss", lambda line: line["history"]["loss"][-1]
    )
    yield tables.table([loss, *lengths], "network, learning rate")
