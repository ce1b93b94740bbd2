"""What does weight decay do to it?"""

from dataclasses import replace

import runs
import tables
from questions import sgd_learning_rates
from runs import WITH, WITHOUT

SEEDS = 5
RUNS = {
    (name, decay): replace(sgd_learning_rates.RUNS[name, 0.1], weight_decay=decay)
    for decay in (0.0, 0.003, 0.03)
    for name in (WITH, WITHOUT)
}


class KernelNorms(runs.Measurement):
    """Measures the length of each kernel, all its weights as one vector."""

    def on_train_end(self, logs=None):
        self.result = runs.kernel_lengths(self.model)


MEASUREMENT = KernelNorms


def lengths(found, lengths_of):
    """Return the kernels' lengths, a Series for each layer of lengths_of(line)."""
    return [
        tables.values(
            found, f"length, {name}", lambda line, at=at: lengths_of(line)[at]
        )
        for at, name in enumerate(
            ("first convolution", "second", "hidden Dense", "last Dense")
        )
    ]


def report(found):
    yield tables.pairs(tables.after(found, "test_accuracy"), "weight decay")


def details(found):
    decays = {
        f"{name}, {decay} instead of 0": ((name, decay), (name, 0.0))
        for name in (WITH, WITHOUT)
        for decay in (0.003, 0.03)
    }
    yield tables.differences(tables.after(found, "test_accuracy"), decays)
    yield tables.pairs(tables.after(found, "val_accuracy"), "weight decay")
    yield "The kernels after the training:"
    yield tables.table(lengths(found, KernelNorms.of), "network, weight decay")
