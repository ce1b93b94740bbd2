"""Where the network without the layers stops learning, are its units dead?"""

import keras

import runs
import tables
from figures import WITH, WITHOUT
from questions import adam_learning_rates
from questions.adam_learning_rates import RATES, RUNS  # noqa: F401

SEEDS = 3


class DeadUnits(runs.Measurement):
    """Measures the share of Dense's units that ReLU makes zero for all validation images."""

    def on_train_begin(self, logs=None):
        self.result = {}
        dense = next(
            index
            for index, layer in enumerate(self.model.layers)
            if isinstance(layer, keras.layers.Dense)
        )
        relu = self.model.layers[dense + 1]
        self.units = keras.Model(self.model.inputs, relu.output)

    def on_epoch_end(self, epoch, logs=None):
        (x_train, _), _ = self.data
        images = x_train[runs.num_training(x_train) :]
        outputs = self.units.predict(images, batch_size=250, verbose=0)
        self.result[str(epoch + 1)] = float((outputs <= 0).all(axis=0).mean())


MEASUREMENT = DeadUnits


def dead_after_ten(line):
    """Return the share of dead units after the epoch that the accuracy is of, too."""
    shares = DeadUnits.of(line)
    return shares[str(min(10, max(map(int, shares))))]


def report(found):
    dead = tables.frame(found, {"share": dead_after_ten})["share"]
    accuracy = tables.chosen(found, [adam_learning_rates.COLUMNS[1]]).iloc[:, 0]
    by_rate = {
        "dead, with the layers": [dead.loc[f"{WITH}, {rate}"] for rate in RATES],
        "dead, without": [dead.loc[f"{WITHOUT}, {rate}"] for rate in RATES],
        f"{accuracy.name}, without": [
            accuracy.loc[f"{WITHOUT}, {rate}"] for rate in RATES
        ],
    }
    return tables.listed(by_rate, RATES, "learning rate (by seed)")
