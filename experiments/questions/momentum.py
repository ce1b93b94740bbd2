"""What does the momentum change?"""

import keras
import numpy as np

import figures
import runs
import tables
from runs import Run, layer, script_layers

SEEDS = 5
MOMENTA = 0.9, 0.99, 0.999
RUNS = {
    f"momentum {momentum}": Run(
        script_layers(layer("BatchNormalization", momentum=momentum))
    )
    for momentum in MOMENTA
}


class FirstLayer(runs.Measurement):
    """Follows the first BatchNormalization layer's variance, and validation accuracy.

    Every 16 training steps: the medians, over its channels, of the moving variance and of
    the variance of its inputs in 1,000 training images; and the accuracy on the first
    2,000 validation images.
    """

    settings = {"training images": 1_000, "validation images": 2_000}
    at_the_end = False

    def on_train_begin(self, logs=None):
        (x_train, _), (x, y) = runs.split(self.data)
        self.images = x_train[: self.settings["training images"]]
        self.validation = [of[: self.settings["validation images"]] for of in (x, y)]
        self.norm = runs.norms(self.model)[0]
        self.inputs = keras.Model(self.model.inputs[0], self.norm.input)
        self.result = {"step": [], "moving": [], "true": [], "accuracy": []}

    def on_train_batch_end(self, batch, logs=None):
        true = np.var(self.inputs(self.images), axis=(0, 1, 2))
        self.result["step"].append(int(self.model.optimizer.iterations))
        self.result["moving"].append(np.median(self.norm.moving_variance))
        self.result["true"].append(np.median(true))
        self.result["accuracy"].append(runs.accuracy(self.model, *self.validation))


MEASUREMENT = FirstLayer
