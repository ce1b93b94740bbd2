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
        dense = next(
            index
            for index, layer in enumerate(self.model.layers)
            if isinstance(layer, keras.layers.Dense)
        )
        relu = self.model.layers[dense + 1]
        self.units = keras.Model(self.model.inputs[0], relu.output)

    def on_epoch_end(self, epoch, logs=None):
        _, (images, _) = runs.split(self.data)
        outputs = self.units.predict(images, batch_size=250, verbose=0)
        self.result[str(epoch + 1)] = float((outputs <= 0).all(axis=0).mean())


MEASUREMENT = DeadUnits


def share(found):
    """Return the share of dead units after the last epoch of each run."""
    return tables.values(
        found,
        "dead units",
        lambda line: DeadUnits.of(line)[str(len(line["history"]["loss"]))],
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
    yield tables.every_seed([tables.after(found, "test_accuracy"), share(found)])
