"""Is it the network that fails, or its averages?"""

import numpy as np

import runs
import tables
from runs import Run, layer, script_layers

MOMENTUM_99 = script_layers(layer("BatchNormalization", momentum=0.99))
SEEDS = 3
RUNS = {
    "the default run, 25 epochs": Run(epochs=25),
    "learning rate 0.1, 10 epochs": Run(learning_rate=0.1, epochs=10),
    "momentum 0.99, 2 epochs": Run(MOMENTUM_99, epochs=2),
    "momentum 0.99, 5 epochs": Run(MOMENTUM_99, epochs=5),
}
KINDS = {
    "moving": "the moving averages",
    "batch": "each test batch's statistics",
    "recomputed": "recomputed statistics",
}


class Statistics(runs.Measurement):
    """Tests the same weights with three kinds of means and variances, into test accuracies.

    moving: the moving averages, as Keras does. batch: those of each test batch of 250
    images. recomputed: the plain mean of those of training batches of 250, much as in the
    paper's algorithm 2 (page 4) and in "precise BN" (Wu and Johnson 2021,
    arXiv:2105.07576).
    """

    settings = {"batches": 60}  # that the statistics are recomputed from

    def on_train_end(self, logs=None):
        if not runs.norms(self.model):
            return
        self.result = {
            "moving": self.test(),
            "batch": self.test_in_training_mode(),
            "recomputed": self.test_recomputed(),
        }

    def test(self):
        _, (x_test, y_test) = self.data
        return self.model.evaluate(x_test, y_test, batch_size=250, verbose=0)[1]

    def test_in_training_mode(self):
        _, (x, y) = self.data
        order = np.random.default_rng(0).permutation(len(x))
        return runs.accuracy(self.model, x[order], y[order], training=True)

    def test_recomputed(self):
        (x, _), _ = runs.split(self.data)
        runs.move_averages(self.model, x, self.settings["batches"])
        return self.test()


MEASUREMENT = Statistics


def tested(found):
    """Return the test accuracies with each kind of statistics, a Series for each."""
    return [
        tables.values(
            found,
            f"test accuracy with {name}",
            lambda line, kind=kind: Statistics.of(line)[kind],
        )
        for kind, name in KINDS.items()
    ]


def report(found):
    yield tables.every_seed(tested(found), "trained with")


def details(found):
    moving, _, recomputed = tested(found)
    name = "recomputed statistics minus the moving averages"
    yield tables.changes(recomputed, moving, name, "trained with")
