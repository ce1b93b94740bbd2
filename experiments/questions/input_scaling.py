"""Does it replace scaling the inputs?"""

import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers

SEEDS = 5
OPTIMIZERS = {
    "Adam": {"optimizer": "Adam", "learning_rate": 0.001},
    "SGD with momentum": {
        "optimizer": "SGD",
        "learning_rate": 0.01,
        "optimizer_momentum": 0.9,
    },
}
RUNS = {
    f"{name}, {optimizer}, images 0 to {largest}": Run(
        script_layers(norm),
        train_images=10_000,
        batch_size=100,
        epochs=3,
        largest_pixel=largest,
        **options,
    )
    for largest in (1, 255)
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
    for optimizer, options in OPTIMIZERS.items()
}


def report(found):
    rows = [
        f"{optimizer}, images 0 to {largest}"
        for optimizer in OPTIMIZERS
        for largest in (1, 255)
    ]
    seeds = tables.chosen(found, [tables.TEST]).iloc[:, 0]
    grid = tables.grid(found, rows, [WITH, WITHOUT], "optimizer, images")
    pairs = {
        f"{name}, {optimizer}, 0 to 255 instead of 0 to 1": (
            f"{name}, {optimizer}, images 0 to 255",
            f"{name}, {optimizer}, images 0 to 1",
        )
        for name in (WITH, WITHOUT)
        for optimizer in OPTIMIZERS
    }
    return grid + "\n\n" + tables.compared(seeds, pairs)
