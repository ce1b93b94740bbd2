"""What does weight decay do to it?"""

import keras
import numpy as np

import runs
import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers

SEEDS = 5
RUNS = {
    (name, decay): Run(
        script_layers(norm),
        train_images=10_000,
        optimizer="SGD",
        learning_rate=0.1,
        weight_decay=decay,
        batch_size=100,
        epochs=5,
    )
    for decay in (0.0, 0.003, 0.03)
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


class KernelNorms(runs.Measurement):
    """Measures the length of each kernel, all its weights as one vector."""

    def on_train_end(self, logs=None):
        self.result = [
            float(np.linalg.norm(layer.kernel.numpy()))
            for layer in self.model.layers
            if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
        ]


MEASUREMENT = KernelNorms


def report(found):
    columns = tables.validation_and_test(found)
    norms = [
        tables.values(
            found, f"length, {name}", lambda line, at=at: KernelNorms.of(line)[at]
        )
        for at, name in enumerate(
            ("first convolution", "second", "hidden Dense", "last Dense")
        )
    ]
    decays = {
        f"{name}, {decay} instead of 0": ((name, decay), (name, 0.0))
        for name in (WITH, WITHOUT)
        for decay in (0.003, 0.03)
    }
    return "\n\n".join(
        [
            tables.pairs(columns, "weight decay"),
            "Test accuracy:",
            tables.compared(columns[-1], decays),
            "The kernels after the training:",
            tables.table(norms, "network, weight decay"),
        ]
    )
