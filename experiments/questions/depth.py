"""Is it decisive in deep networks?"""

from dataclasses import replace

import pandas as pd

import figures
import tables
from runs import BATCH_NORM, GLOROT, HE, WITH, Run, layer

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
BOTH = "with Batch Normalization and He initialization"


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


def stacks(make, depths):
    """Describe the runs of the stacks that make() lists, by network, optimizer and depth."""
    return {
        (name, f"{optimizer}, {depth}"): Run(network, **SETTINGS, **options)
        for optimizer, options in OPTIMIZERS.items()
        for depth in depths
        for name, network in {
            WITH: make(depth, BATCH_NORM),
            GLOROT: make(depth),
            HE: make(depth, kernel_initializer="he_normal"),
        }.items()
    }


SHORT = stacks(plain_stack, DEPTHS)
LONG = {  # three times as many epochs
    (name, f"{optimizer}, 40, nine epochs"): replace(
        SHORT[WITH, f"{optimizer}, 40"], network=network, epochs=9
    )
    for optimizer in OPTIMIZERS
    for name, network in {
        WITH: plain_stack(40, BATCH_NORM),
        HE: plain_stack(40, kernel_initializer="he_normal"),
        BOTH: plain_stack(40, BATCH_NORM, kernel_initializer="he_normal"),
    }.items()
}
RUNS = SHORT | LONG
SEEDS = dict.fromkeys(SHORT, 5) | dict.fromkeys(LONG, 3)
CORNER = "optimizer, convolutions"


def report(found):
    test = tables.after(found[[*LONG]], "test_accuracy")
    yield tables.grid(test, CORNER)


def details(found):
    test = tables.after(found[[*SHORT]], "test_accuracy")
    long = found[[*LONG]]
    yield tables.grid(test, CORNER)
    yield with_minus_others(test)
    yield with_minus_others(tables.after(long, "test_accuracy"))
    early, late = [tables.after(long, "test_accuracy", epoch) for epoch in (3, 9)]
    yield tables.changes(late, early, f"{late.name} minus after three")
    yield tables.losses_of_failures(found)


def with_minus_others(test):
    """Return a table: how far the first network is ahead of each other one, by x."""
    first, *others = test.index.unique(0)
    cells = {
        f"“{first}” minus “{other}”": [
            tables.difference(test[first, x], test[other, x])
            for x in test.index.unique(1)
        ]
        for other in others
    }
    frame = pd.DataFrame(cells, test.index.unique(1))
    return tables.markdown(frame, f"{CORNER} ({test.name})")


def draw(found):
    return draw_stacks(found[[*SHORT]])


def draw_stacks(found):
    """Draw the test accuracy of stacks by their depth, a panel for each optimizer."""
    figure, both = figures.new(columns=2, size=(9, 4.5), sharey=True)
    test = tables.after(found, "test_accuracy")
    for axes, optimizer in zip(both, OPTIMIZERS):
        of_this = test[
            [x.startswith(optimizer) for x in test.index.get_level_values(1)]
        ]
        depths = of_this.rename(lambda x: int(x.rpartition(", ")[2]), level=1)
        figures.dots(axes, depths, "convolutions")
        axes.set_title(optimizer)
    both[1].set_ylabel(None)
    figures.name_dots(both[0])
    return figure
