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


def report(found):
    losses = found.map(lambda line: line["history"]["loss"])
    same = losses.eq(losses.iloc[:, 0], axis=0).all(axis=1).sum()
    yield (
        "The training losses of all three agree in all five digits of results.jsonl with"
        f" {same} of {tables.plural(len(found), 'seed')}."
    )


def details(found):
    columns = [tables.after(found, "val_accuracy", epoch) for epoch in range(1, 6)]
    short = [of.rename(f"epoch {epoch}") for epoch, of in enumerate(columns, 1)]
    yield tables.table(short, "validation accuracy")


def draw(found):
    figure, (above, below) = figures.new(rows=2, size=(7, 6.5), sharex=True)
    looks = ("C0", "-"), ("C3", "--"), ("C4", ":")
    for (name, lines), (color, style) in zip(found.items(), looks):
        look = {"color": color, "linestyle": style, "linewidth": 1.2}
        default = " (Keras' default)" if name == "momentum 0.99" else ""
        measured = [FirstLayer.of(line) for line in lines]
        moving = [(of["step"], of["moving"]) for of in measured]
        accuracy = [(of["step"], of["accuracy"]) for of in measured]
        figures.curves(above, moving, name + default, **look)
        figures.curves(below, accuracy, None, **look)
    measured = [FirstLayer.of(line) for line in found.iloc[:, 0]]
    true = [(of["step"], of["true"]) for of in measured]
    figures.curves(above, true, "true variance", color="black", linewidth=1)
    above.set(
        yscale="log",
        ylabel="variance of a typical channel\nafter the first convolution",
    )
    lines = above.get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=2, title="each run a line")
    figures.chance(below)
    below.set(ylim=(0, 1), xlabel="training step", ylabel="validation accuracy")
    per_epoch = measured[0]["step"][-1] / found.iat[0, 0]["run"].epochs
    scale = (lambda step: step / per_epoch, lambda epoch: epoch * per_epoch)
    below.secondary_xaxis("top", functions=scale).set_xlabel("epoch")
    return figure
