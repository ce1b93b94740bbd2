"""How small may a batch be?"""

import tables
from figures import WITH, WITHOUT
from questions import averages
from runs import BATCH_NORM, Run, script_layers

SEEDS = 5
MEASUREMENT = averages.Statistics
RUNS = {
    (name, size): Run(
        script_layers(norm), train_images=10_000, batch_size=size, epochs=3
    )
    for size in (2, 4, 8, 16, 50, 250)
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


def report(found):
    with_the_layers = {
        (f"batch size {size}",): lines
        for (name, size), lines in found.items()
        if name == WITH
    }
    return "\n\n".join(
        [
            tables.pairs(tables.validation_and_test(found), "batch size"),
            averages.report(with_the_layers),
        ]
    )
