"""Is it decisive in deep networks?"""

import pandas as pd

import figures
import tables
from runs import BATCH_NORM, GLOROT, HE, WITH, Run, layer

SEEDS = 5
DEPTHS = 2, 8, 20, 40
OPTIMIZERS = {
    "Adam": {"optimizer": "Adam", "learning_rate": 0.001},
    "SGD with momentum": {
        "optimizer": "SGD",
        "learning_rate": 0.01,
        "optimizer_momentum": 0.9,
    },
}
SETTINGS = {"train_images": 10_000, "batch_size": 100, "epochs": 3}


def convolution(number, depth, norm=None, **options):
    """List a 3 x 3 convolution with 16 filters, two of them with stride 2, and the norm."""
    strides = 2 if number in (depth // 3, 2 * depth // 3) else 1
    convolution = layer(
        "Conv2D", filters=16, kernel_size=3, strides=strides, padding="same", **options
    )
    return [convolution, norm] if norm else [convolution]


def plain_stack(depth, norm=None, **options):
    """List a stack of convolutions, with the norm between each of them and its ReLU."""
    network = []
    for number in range(depth):
        network += [*convolution(number, depth, norm, **options), layer("ReLU")]
    return [*network, layer("Flatten")]


RUNS = {
    (name, optimizer, depth): Run(network, **SETTINGS, **options)
    for optimizer, options in OPTIMIZERS.items()
    for depth in DEPTHS
    for name, network in {
        WITH: plain_stack(depth, BATCH_NORM),
        GLOROT: plain_stack(depth),
        HE: plain_stack(depth, kernel_initializer="he_normal"),
    }.items()
}


def report(found):
    corner = "optimizer, convolutions"
    test = tables.after(found, "test_accuracy")
    yield tables.grid(test, corner)
    yield layers_minus_others(test, corner)


def layers_minus_others(test, corner):
    """Return a table: in each row, by how much the layers are ahead of each other network."""
    networks = test.index.unique(0)
    rows = test.index.droplevel([0, -1]).unique()
    cells = {
        f"the layers minus “{name}”": [
            tables.difference(test[(WITH, *row)], test[(name, *row)]) for row in rows
        ]
        for name in networks.drop(WITH)
    }
    return tables.markdown(pd.DataFrame(cells, rows), f"{corner} ({test.name})")


def draw(found):
    figure, both = figures.new(columns=2, size=(10, 4), sharey=True)
    test = tables.after(found, "test_accuracy")
    for axes, optimizer in zip(both, OPTIMIZERS):
        figures.dots(axes, test.xs(optimizer, level=1), "convolutions")
        axes.set_title(optimizer)
    both[1].legend().remove()
    figure.suptitle("10,000 images")
    return figure
