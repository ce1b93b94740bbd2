"""Does it replace scaling the inputs?"""

import tables
from questions.depth import OPTIMIZERS, SETTINGS
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 5
RANGES = {"images 0 to 1": 1, "images 0 to 255": 255}
RUNS = {
    (name, optimizer, images): Run(
        network, largest_pixel=largest, **SETTINGS, **options
    )
    for optimizer, options in OPTIMIZERS.items()
    for images, largest in RANGES.items()
    for name, network in NETWORKS.items()
}


def report(found):
    test = tables.after(found, "test_accuracy")
    small, large = RANGES
    pairs = {
        f"{name}, {optimizer}, 0 to 255 instead of 0 to 1": (
            test[name, optimizer, large],
            test[name, optimizer, small],
        )
        for name in (WITH, WITHOUT)
        for optimizer in OPTIMIZERS
    }
    yield tables.grid(test, "optimizer, images")
    yield tables.differences(pairs)
