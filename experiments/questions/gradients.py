"""In deep networks, how large are gradients and signals at the start?"""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

import runs
import tables
from questions import depth, residual
from runs import GLOROT, HE, WITH

SEEDS = 3
STACKS = {"plain": depth, "with residual connections": residual}
RUNS = {  # Only what is measured before the first step counts.
    (name, f"{stack}, {number}"): replace(
        of.RUNS[name, f"Adam, {number}"], train_images=1_000, epochs=1
    )
    for stack, of in STACKS.items()
    for number in (20, 40)
    for name in (WITH, GLOROT, HE)
}


class AtTheStart(runs.Measurement):
    """Measures one batch of 100 images in training mode, before the first step.

    The length of the gradient of each convolution's kernel, from the first on; the loss;
    and the standard deviation, over the images, of the last layer's inputs (their mean).
    """

    settings = {"images": 100}
    at_the_end = False

    def on_train_begin(self, logs=None):
        (x, y), _ = runs.split(self.data)
        x, y = (of[: self.settings["images"]] for of in (x, y))
        averages = [weight.numpy() for weight in self.model.non_trainable_weights]
        convolutions = [
            layer
            for layer in self.model.layers
            if isinstance(layer, keras.layers.Conv2D)
        ]
        both = keras.Model(
            self.model.inputs[0],
            [self.model.layers[-1].input, self.model.layers[-1].output],
        )
        with tf.GradientTape() as tape:
            features, outputs = both(x, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(y, outputs)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [of.kernel.value for of in convolutions])
        for weight, value in zip(self.model.non_trainable_weights, averages):
            weight.assign(value)  # as if the images had not been seen
        self.result = {
            "gradients": [np.linalg.norm(gradient) for gradient in gradients],
            "loss": float(loss),
            "signal": float(np.std(features, axis=0).mean()),
        }


MEASUREMENT = AtTheStart


def second_over_last(line):
    gradients = AtTheStart.of(line)["gradients"]
    return gradients[1] / gradients[-1]


def medians(found, name, function):
    """Return a table of the medians of function(line)."""
    cells = tables.by_network(tables.values(found, name, function), "median")
    cells = cells.map("{:.2g}".format)
    return tables.markdown(cells, f"convolutions ({name}, median)")


def report(found):
    name = "gradient of the second convolution over that of the last"
    yield medians(found, name, second_over_last)
    name = "standard deviation of the last layer's inputs"
    yield medians(found, name, lambda line: AtTheStart.of(line)["signal"])


def details(found):
    loss = tables.values(found, "loss", lambda line: AtTheStart.of(line)["loss"])
    cells = tables.by_network(loss, tables.every)
    yield tables.markdown(cells, "convolutions (loss, by seed)")
