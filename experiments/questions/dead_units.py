"""Where the network without the layers stops learning, are its units dead?"""

import keras

import runs
import tables
from questions import adam_learning_rates
from runs import WITH, WITHOUT

SEEDS = 3
RUNS = adam_learning_rates.RUNS


class DeadUnits(runs.Measurement):
    """Measures the share of Dense's units that ReLU makes zero for all validation images."""

    at_the_end = False

    def on_train_begin(self, logs=None):
        self.result = {}
        dense = next(
            index
            for index, layer in enumerate(self.model.layers)
            if isinstance(layer, keras.layers.Dense)
        )
        relu = self.model.layers[dense + 1]
        self.units = keras.Model(self.model.inputs[0], relu.output)

    def on_epoch_end(self, epoch, logs=None):
        (x_train, _), _ = self.data
        images = x_train[runs.num_training(x_train) :]
        outputs = self.units.predict(images, batch_size=250, verbose=0)
        self.result[str(epoch + 1)] = float((outputs <= 0).all(axis=0).mean())


MEASUREMENT = DeadUnits


def share(line):
    """Return the share of dead units after as many epochs as the accuracy's."""
    return DeadUnits.of(line)[str(len(line["history"]["loss"]))]


def report(found):
    dead = tables.values(found, "dead", share)
    accuracy = tables.after(found, "test_accuracy")
    columns = [
        dead[WITH].rename("dead, with the layers"),
        dead[WITHOUT].rename("dead, without"),
        accuracy[WITHOUT].rename(f"{accuracy.name}, without"),
    ]
    yield tables.every_seed(columns, "learning rate (by seed)")
