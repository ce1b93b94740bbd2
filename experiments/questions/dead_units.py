"""With Adam at 0.03: how many runs fail, and how?"""

import keras
from scipy import stats

import runs
import tables
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 20
RUNS = {  # exercise 2 of the README
    name: Run(
        network, train_images=10_000, learning_rate=0.03, batch_size=121, epochs=3
    )
    for name, network in NETWORKS.items()
}


class DeadUnits(runs.Measurement):
    """Measures the share of Dense's units that ReLU makes zero for all validation images."""

    at_the_end = False

    def on_train_begin(self, logs=None):
        self.result = {}
        self.units = hidden_units(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.result[str(epoch + 1)] = dead(self.units, self.data)


def hidden_units(model):
    """Return a model of the hidden Dense layer's outputs after ReLU."""
    dense = next(
        index
        for index, layer in enumerate(model.layers)
        if isinstance(layer, keras.layers.Dense)
    )
    return keras.Model(model.inputs[0], model.layers[dense + 1].output)


def dead(units, data):
    """Return the share of the units that are zero for all validation images."""
    _, (images, _) = runs.split(data)
    outputs = units.predict(images, batch_size=250, verbose=0)
    return float((outputs <= 0).all(axis=0).mean())


MEASUREMENT = DeadUnits


def share(found, epoch=None):
    """Return the share of dead units after an epoch of each run, by default the last."""

    def of(line):
        return DeadUnits.of(line)[str(epoch or len(line["history"]["loss"]))]

    return tables.values(
        found, f"dead after epoch {epoch}" if epoch else "dead units", of
    )


def report(found):
    test = tables.after(found, "test_accuracy")
    yield tables.table([test, share(found)])
    failed = [(test[name] < tables.FAILED).sum() for name in (WITH, WITHOUT)]
    p_value = stats.fisher_exact([[count, SEEDS - count] for count in failed]).pvalue
    yield (
        f"Failed (below {tables.FAILED}): {failed[0]} of {SEEDS} runs with Batch"
        f" Normalization, {failed[1]} of {SEEDS} without (Fisher's exact test:"
        f" p = {p_value:.2g})."
    )


def details(found):
    first = tables.after(found, "test_accuracy", 1)
    last = tables.after(found, "test_accuracy")
    yield tables.every_seed([first, share(found, 1), last, share(found)])
