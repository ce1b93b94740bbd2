"""Which of the moving averages are wrong?"""

import numpy as np
import pandas as pd

import runs
import tables
from runs import Run, layer, script_layers

SEEDS = 5


def network(momentum):
    return script_layers(layer("BatchNormalization", momentum=momentum))


RUNS = {
    ("0 to 1", 0.99): Run(network(0.99), epochs=2),
    ("0 to 1", 0.999): Run(network(0.999), epochs=5),
    ("0 to 255", 0.99): Run(network(0.99), epochs=2, largest_pixel=255.0),
}


class Swapped(runs.Measurement):
    """Validates the same weights with other means and variances, after each epoch.

    A layer's "true" mean and variance are the plain means of those of 60 training batches
    of 250; the "old" ones are its moving averages. By layer, from the first on.
    """

    settings = {
        "batches": 60,
        "remedy": 64,  # batches in training mode
        # Of the initial 0 and 1, in averages that are true apart from it.
        "fractions": [0.825, 0.382, 0.145, 0.05, 0.01, 0.001],
    }
    at_the_end = False

    def on_train_begin(self, logs=None):
        self.norms = runs.norms(self.model)
        self.result = {}

    def on_epoch_end(self, epoch, logs=None):
        momentum = self.norms[0].momentum
        old = self.averages()
        true = self.after_batches(self.settings["batches"])
        (old_mean, old_variance), (true_mean, true_variance) = old[0], true[0]
        initial = momentum ** int(self.model.optimizer.iterations)
        swapped = {
            "as trained": old,
            "true means, old variances": [(t[0], o[1]) for o, t in zip(old, true)],
            "old means, true variances": [(o[0], t[1]) for o, t in zip(old, true)],
            "all true": true,
            "only the first variance true": [(old_mean, true_variance), *old[1:]],
            "only the first variance old": [(true_mean, old_variance), *true[1:]],
            "initial values divided out": without_initial(old, initial),
            **{
                f"fraction {fraction}": with_initial(true, fraction)
                for fraction in self.settings["fractions"]
            },
        }
        results = {name: self.validate(values) for name, values in swapped.items()}
        for name, of in ("momentum 0.9", 0.9), ("the same momentum", momentum):
            self.restore(old)
            values = self.after_batches(self.settings["remedy"], of)
            results[f"64 batches, {name}"] = self.validate(values)
        self.restore(old)
        for norm in self.norms:
            norm.momentum = momentum
        self.result[str(epoch + 1)] = {
            "validation accuracy": results,
            "initial": initial,
            "moving variance": [np.median(variance) for _, variance in old],
            "true variance": [np.median(variance) for _, variance in true],
        }

    def averages(self):
        return [
            (norm.moving_mean.numpy(), norm.moving_variance.numpy())
            for norm in self.norms
        ]

    def after_batches(self, batches, momentum=None):
        """Return the averages after batches in training mode: as move_averages() has it."""
        (x, _), _ = runs.split(self.data)
        runs.move_averages(self.model, x, batches, momentum)
        return self.averages()

    def restore(self, values):
        for norm, (mean, variance) in zip(self.norms, values):
            norm.moving_mean.assign(mean)
            norm.moving_variance.assign(variance)

    def validate(self, values):
        self.restore(values)
        _, validation = runs.split(self.data)
        return self.model.evaluate(*validation, batch_size=250, verbose=0)[1]


def with_initial(values, fraction):
    """Return means and variances that hold a fraction of their initial values, 0 and 1."""
    return [
        ((1 - fraction) * mean, (1 - fraction) * variance + fraction)
        for mean, variance in values
    ]


def without_initial(averages, fraction):
    """Return averages without the fraction of 0 and 1 that they hold, as Adam does."""
    return [
        (mean / (1 - fraction), (variance - fraction) / (1 - fraction))
        for mean, variance in averages
    ]


MEASUREMENT = Swapped


def validated(found, label, epoch):
    """Return the validation accuracies of a label after an epoch, by kind of averages."""
    results = [
        Swapped.of(line)[str(epoch)]["validation accuracy"] for line in found[label]
    ]
    return pd.DataFrame(results, found.index)


def accuracies(found):
    """Return a table: for each kind of averages, mean ± deviation after each epoch."""
    columns = {
        f"{pixels}, {momentum}, epoch {epoch}": validated(
            found, (pixels, momentum), epoch
        )
        for (pixels, momentum), run in RUNS.items()
        for epoch in range(1, run.epochs + 1)
    }
    return pd.DataFrame({name: of.agg(tables.mean) for name, of in columns.items()})


def report(found):
    shown = {
        "0 to 1, 0.99, epoch 1": "momentum 0.99, epoch 1",
        "0 to 1, 0.999, epoch 5": "momentum 0.999, epoch 5",
        "0 to 255, 0.99, epoch 1": "momentum 0.99, epoch 1, pixels 0 to 255",
    }
    cells = accuracies(found)[[*shown]].rename(columns=shown)
    cells = cells[~cells.index.str.startswith("fraction")]
    yield tables.markdown(cells, "moving averages (validation accuracy)")


def details(found):
    corner = "pixels, momentum, epoch (validation accuracy)"
    cells = accuracies(found)
    fraction = cells.index.str.startswith("fraction")
    yield tables.markdown(cells[~fraction], corner)
    yield "True averages, but with a fraction of their initial values:"
    # The weights do not depend on the momentum.
    same = ["0 to 1, 0.99, epoch 1", "0 to 1, 0.99, epoch 2"]
    yield tables.markdown(cells[fraction].drop(columns=same), corner)
    large = validated(found, ("0 to 255", 0.99), 1)
    yield (
        "Pixels from 0 to 255, epoch 1, as trained minus all true:"
        f" {tables.difference(large['as trained'], large['all true'])}."
    )
    epsilon = 0.001  # Keras' default
    factors = [
        np.sqrt((moving + epsilon) / (true + epsilon))
        for moving, true in (
            (of["moving variance"][0], of["true variance"][0])
            for of in (Swapped.of(line)["1"] for line in found["0 to 1", 0.99])
        )
    ]
    yield (
        "With momentum 0.99, epoch 1, the first layer's output is too small by (by seed): "
        + ", ".join(f"{factor:.1f}" for factor in factors)
    )
    for name in "moving variance", "true variance":
        yield f"Median {name} after each layer, first epoch:"
        rows = {
            tables.text(label): pd.DataFrame(
                [Swapped.of(line)["1"][name] for line in lines]
            ).mean()
            for label, lines in found.items()
        }
        cells = pd.DataFrame(rows).T.map("{:.4f}".format)
        yield tables.markdown(cells.rename(columns=lambda at: f"layer {at + 1}"), name)
