"""With plain SGD: does it bear higher learning rates?"""

import figures
import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers

SEEDS = 5
IMAGES = 10_000
RATES = 0.01, 0.03, 0.1, 0.3, 1.0, 3.0
RUNS = {
    f"{name}, {rate}": Run(
        script_layers(norm),
        train_images=IMAGES,
        optimizer="SGD",
        learning_rate=rate,
        batch_size=100,
        epochs=5,
    )
    for rate in RATES
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


def report(found):
    networks = WITH, WITHOUT
    return (
        tables.grids(found, RATES, networks, "learning rate")
        + "\n\n"
        + tables.at_their_best(found, RATES, networks)
    )


def draw(found):
    figure, axes = figures.new()
    seeds = tables.chosen(found, [tables.TEST]).iloc[:, 0]
    values = {
        name: {rate: seeds.loc[f"{name}, {rate}"] for rate in RATES}
        for name in (WITH, WITHOUT)
    }
    figures.dots(axes, values, f"{IMAGES:,} images")
    axes.set(xlabel="learning rate of SGD", ylabel=seeds.name)
    axes.legend(title="each seed a dot, their median a line", loc=(0.02, 0.16))
    return figure
