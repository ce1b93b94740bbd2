"""Where does it decide? Depth"""

import pandas as pd

import figures
import tables
from figures import GLOROT, HE, WITH
from runs import BATCH_NORM, Run, layer

SEEDS = 5
IMAGES = 10_000
DEPTHS = 2, 8, 20, 40
OPTIMIZERS = {
    "Adam": {"optimizer": "Adam", "learning_rate": 0.001},
    "SGD with momentum": {
        "optimizer": "SGD",
        "learning_rate": 0.01,
        "optimizer_momentum": 0.9,
    },
}


def plain_stack(depth, norm=None, **options):
    """List a stack of 3 x 3 convolutions, 16 filters each, two of them with stride 2.

    norm stands between each convolution and its ReLU.
    """
    network = []
    for number in range(depth):
        strides = 2 if number in (depth // 3, 2 * depth // 3) else 1
        network += [
            layer(
                "Conv2D",
                filters=16,
                kernel_size=3,
                strides=strides,
                padding="same",
                **options,
            ),
            norm,
            layer("ReLU"),
        ]
    return [description for description in network if description] + [layer("Flatten")]


RUNS = {
    f"{name}, {optimizer}, {depth}": Run(
        network, train_images=IMAGES, batch_size=100, epochs=3, **options
    )
    for depth in DEPTHS
    for name, network in {
        WITH: plain_stack(depth, BATCH_NORM),
        GLOROT: plain_stack(depth),  # Keras' initialization
        HE: plain_stack(depth, kernel_initializer="he_normal"),
    }.items()
    for optimizer, options in OPTIMIZERS.items()
}


def report(found):
    rows = [f"{optimizer}, {depth}" for optimizer in OPTIMIZERS for depth in DEPTHS]
    corner = "optimizer, convolutions"
    seeds = tables.chosen(found, [tables.TEST]).iloc[:, 0]
    differences = pd.DataFrame(
        {
            f"the layers minus “{name}”": [
                tables.difference(
                    seeds.loc[f"{WITH}, {row}"], seeds.loc[f"{name}, {row}"]
                )
                for row in rows
            ]
            for name in (GLOROT, HE)
        },
        pd.Index(rows, name=f"{corner} (test accuracy)"),
    )
    return (
        tables.grid(found, rows, [WITH, GLOROT, HE], corner)
        + "\n\n"
        + tables.markdown(differences)
    )


def draw(found):
    figure, both = figures.new(columns=2, size=(10, 4), sharey=True)
    seeds = tables.chosen(found, [tables.TEST]).iloc[:, 0]
    for axes, optimizer in zip(both, OPTIMIZERS):
        values = {
            name: {
                depth: seeds.loc[f"{name}, {optimizer}, {depth}"] for depth in DEPTHS
            }
            for name in (WITH, GLOROT, HE)
        }
        figures.dots(axes, values, optimizer)
        axes.set_xlabel("convolutions")
    figure.suptitle(f"{IMAGES:,} images")
    both[0].set_ylabel(seeds.name)
    both[0].legend(title="each seed a dot, their median a line", loc=(0.02, 0.16))
    return figure
