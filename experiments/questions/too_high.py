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
