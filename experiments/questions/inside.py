"""What does the layer do inside the network?"""

import keras
import numpy as np

import figures
import runs
from runs import NETWORKS, Run

SEEDS = 3
RUNS = {
    (name, rate): Run(network, learning_rate=rate)
    for rate in (0.001, 0.1)
    for name, network in NETWORKS.items()
}


class Percentiles(runs.Measurement):
    """Follows the 15th, 50th and 85th percentile of an input of the last layer.

    As in the paper's figure 1. Over 1,000 validation images, every ten training steps;
    normalized, where the network does so, with the mean and variance of these images, as
    in training. Of all inputs, the one is kept whose spread, averaged over the steps, is
    the median. The network may not have Dropout, which would draw from the training's
    random numbers.
    """

    settings = {"steps": 960, "images": 1_000, "percentiles": [15, 50, 85]}
    at_the_end = False

    def on_train_begin(self, logs=None):
        (x_train, _), _ = self.data
        validation = x_train[runs.num_training(x_train) :]
        self.images = validation[: self.settings["images"]]
        self.inputs = keras.Model(self.model.inputs[0], self.model.layers[-1].input)
        self.step, self.steps, self.percentiles = 0, [], []

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step > self.settings["steps"] or (self.step % 10 and self.step != 1):
            return
        averages = [
            (weight, weight.numpy()) for weight in self.model.non_trainable_weights
        ]
        values = np.array(self.inputs(self.images, training=True))
        for weight, value in averages:
            weight.assign(value)  # as if the images had not been seen
        self.steps.append(self.step)
        percentiles = np.percentile(values, self.settings["percentiles"], axis=0)
        self.percentiles.append(percentiles)

    def on_train_end(self, logs=None):
        percentiles = np.array(self.percentiles)  # step, percentile, input
        spread = (percentiles[:, 2] - percentiles[:, 0]).mean(axis=0)
        typical = int(np.argsort(spread)[len(spread) // 2])
        self.result = {
            "input": typical,
            "steps": self.steps,
            "values": percentiles[:, :, typical].T.tolist(),
        }


MEASUREMENT = Percentiles


def report(found):
    yield "![15th, 50th and 85th percentile of a typical input](inside.png)"


def draw(found):
    figure, grid = figures.new(2, 2, size=(9, 6), sharex=True, sharey=True)
    for axes, ((name, rate), lines) in zip(grid.flat, found.items()):
        for line, look in zip(lines, ("-", "--", ":")):
            followed = Percentiles.of(line)
            for values, width in zip(followed["values"], (0.7, 1.5, 0.7)):
                axes.plot(
                    followed["steps"],
                    values,
                    color=figures.COLORS[name],
                    linestyle=look,
                    linewidth=width,
                )
        axes.set(title=f"{name}, learning rate {rate}", ylim=(-1.5, 4))
    for axes in grid[1]:
        axes.set_xlabel("training step")
    for axes in grid[:, 0]:
        axes.set_ylabel("input of the last layer")
    return figure
