"""What does the layer do to a channel?"""

import keras
import numpy as np

import figures
import runs
from runs import Run, script_layers

SEEDS = 1
# Without the layers after pooling, which would cancel gamma and beta.
RUNS = {"three layers, after ReLU": Run(script_layers(after_pooling=False))}


class Channel(runs.Measurement):
    """Counts a channel's values before and after the layer that follows convolution two.

    In the trained network, over 1,000 validation images and all positions, normalized with
    the mean and variance of these values, as in training. Of the 64 channels it is the one
    with the median variance.
    """

    settings = {"images": 1_000, "bins": 60}

    def on_train_end(self, logs=None):
        _, (images, _) = runs.split(self.data)
        images = images[: self.settings["images"]]
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
            "zeros": float((values == 0).mean()),
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
    result = Channel.of(found.iat[0, 0])
    yield (
        f"Before the layer the channel's mean is {result['mean']:.3f}, its variance"
        f" {result['variance']:.3f} and {result['zeros']:.0%} of its values are 0. gamma is"
        f" {result['gamma']:.3f}, beta {result['beta']:.3f}."
    )


def draw(found):
    result = Channel.of(found.iat[0, 0])
    figure, rows = figures.new(rows=2, size=(6.5, 4.8), sharex=True, sharey=True)
    variance = result["variance"]
    normalized = variance / (variance + 0.001)  # Keras' epsilon
    means = {"before": result["mean"], "after": result["beta"]}
    spreads = {
        "before": variance**0.5,
        "after": abs(result["gamma"]) * normalized**0.5,
    }
    for axes, name in zip(rows, means):
        counts, edges = result[name]["counts"], result[name]["edges"]
        axes.stairs(counts, edges, fill=True, color=figures.COLORS[figures.WITH])
        title = f"mean {means[name]:.2f}, standard deviation {spreads[name]:.2f}"
        axes.axvline(means[name], color="black", linestyle="--")
        axes.set(title=f"{name} the layer: {title}", yscale="log")
        axes.set_ylabel("count, log scale")
        axes.annotate(
            "what ReLU made zero",
            (edges[1], counts[0]),
            (30, -6),
            textcoords="offset points",
            arrowprops={"arrowstyle": "->"},
        )
    rows[1].set_xlabel("value")
    return figure
