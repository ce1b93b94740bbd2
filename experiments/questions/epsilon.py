"""Does epsilon matter?"""

import numpy as np
import pandas as pd

import runs
import tables
from runs import Run, layer, script_layers

SEEDS = 5
KERAS, PYTORCH = 0.001, 0.00001  # their defaults
RUNS = {
    f"trained with {epsilon:.0e}": Run(
        script_layers(layer("BatchNormalization", momentum=0.9, epsilon=epsilon))
    )
    for epsilon in (KERAS, PYTORCH)
}


class Epsilons(runs.Measurement):
    """Tests the trained weights with each epsilon: in all layers, and in the first alone.

    And the share of Keras' default in variance + epsilon, by layer: the median over its
    channels.
    """

    settings = {"epsilons": [KERAS, PYTORCH]}

    def on_train_end(self, logs=None):
        norms = runs.norms(self.model)
        trained_with = norms[0].epsilon
        variances = [norm.moving_variance.numpy() for norm in norms]
        self.result = {
            "share": [np.median(KERAS / (KERAS + variance)) for variance in variances],
            "test accuracy": {},
            "in the first layer": {},
        }
        for epsilon in self.settings["epsilons"]:
            for norm in norms:
                norm.epsilon = epsilon
            self.result["test accuracy"][f"{epsilon:.0e}"] = self.test()
            for norm in norms[1:]:
                norm.epsilon = trained_with
            self.result["in the first layer"][f"{epsilon:.0e}"] = self.test()

    def test(self):
        _, test = self.data
        return runs.accuracy(self.model, *test)


MEASUREMENT = Epsilons


def tested(found, key):
    """Return test accuracies that Epsilons measured, labelled by (training, test)."""
    columns = {
        (label, f"tested with {epsilon}"): lines.map(
            lambda line, epsilon=epsilon: Epsilons.of(line)[key][epsilon]
        )
        for label, lines in found.items()
        for epsilon in Epsilons.of(lines.iat[0])[key]
    }
    return pd.DataFrame(columns).unstack().rename("test accuracy")


def by_training(found, key, corner):
    """Return a table: a column for each training, a row for each epsilon in the test."""
    cells = tables.by_network(tested(found, key), tables.mean)
    return tables.markdown(cells, f"{corner} (test accuracy)")


def report(found):
    yield by_training(found, "test accuracy", "epsilon in all layers")


def details(found):
    yield by_training(found, "in the first layer", "epsilon in the first layer alone")
    yield tables.compare(tables.validation_and_test(found), *RUNS)
    shares = [
        tables.values(
            found, f"layer {at + 1}", lambda line, at=at: Epsilons.of(line)["share"][at]
        )
        for at in range(5)
    ]
    yield "The share of an epsilon of 0.001 in variance + epsilon, a typical channel:"
    yield tables.table(shares)
