"""What does the layer do to a channel?"""

import keras
import numpy as np

import figures
import runs
from runs import Run

SEEDS = 1
RUNS = {("the script's network",): Run()}


class Channel(runs.Measurement):
    """Counts a channel's values before and after the layer that follows convolution two.

    In the trained network, over 1,000 validation images and all positions, normalized with
    the mean and variance of these values, as in training. Of the 64 channels it is the one
    with the median variance.
    """

    settings = {"images": 1_000, "bins": 60}

    def on_train_end(self, logs=None):
        (x_train, _), _ = self.data
        images = x_train[runs.num_training(x_train) :][: self.settings["images"]]
        convolutions = [
            index
            for index, layer in enumerate(self.model.layers)
            if isinstance(layer, keras.layers.Conv2D)
        ]
        norm = self.model.layers[convolutions[1] + 2]  # ReLU is between them
        before = keras.Model(self.model.inputs[0], norm.input)
        values = before.predict(images, batch_size=250, verbose=0)
        variances = values.var(axis=(0, 1, 2))
        channel = int(np.argsort(variances)[len(variances) // 2])
        values = values[..., channel].ravel()
        gamma, beta = (float(weights[channel]) for weights in norm.get_weights()[:2])
        normalized = (values - values.mean()) / np.sqrt(values.var() + norm.epsilon)
        self.result = {
            "mean": float(values.mean()),
            "variance": float(values.var()),
            "gamma": gamma,
            "beta": beta,
        }
        for name, these in {
            "before": values,
            "normalized": normalized,
            "after": gamma * normalized + beta,
        }.items():
            counts, edges = np.histogram(these, bins=self.settings["bins"])
            self.result[name] = {"counts": counts.tolist(), "edges": edges.tolist()}


MEASUREMENT = Channel


def report(found):
    (lines,) = found.values()
    result = Channel.of(lines[1])
    return (
        f"Before the layer the channel's mean is {result['mean']:.3f} and its variance"
        f" {result['variance']:.3f}; gamma is {result['gamma']:.3f} and beta"
        f" {result['beta']:.3f}."
    )


def draw(found):
    (lines,) = found.values()
    result = Channel.of(lines[1])
    figure, row = figures.new(columns=3, size=(9, 2.8), sharey=True)
    titles = {
        "before": "before the layer",
        "normalized": "mean 0, variance 1",
        "after": "times gamma, plus beta",
    }
    for axes, (name, title) in zip(row, titles.items()):
        counts, edges = result[name]["counts"], result[name]["edges"]
        axes.stairs(counts, edges, fill=True, color=figures.COLORS[figures.WITH])
        axes.set(title=title, yscale="log", xlabel="value")
    row[0].set_ylabel("how many")
    return figure
