"""How small may a batch be?"""

import tables
from figures import WITH, WITHOUT
from questions import averages
from runs import BATCH_NORM, Run, script_layers

SEEDS = 5
SIZES = 2, 4, 16, 50, 250
MEASUREMENT = averages.Statistics
RUNS = {
    f"{name}, {size}": Run(
        script_layers(norm), train_images=10_000, batch_size=size, epochs=3
    )
    for size in SIZES
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


def report(found):
    pairs = tables.pairs(found, SIZES, [WITH, WITHOUT], "batch size")
    with_the_layers = {f"batch size {size}": found[f"{WITH}, {size}"] for size in SIZES}
    return pairs + "\n\n" + averages.report(with_the_layers)
