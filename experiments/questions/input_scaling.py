"""Does it replace scaling the inputs?"""

import tables
from figures import WITH, WITHOUT
from questions.depth import OPTIMIZERS, SETTINGS
from runs import BATCH_NORM, Run, script_layers

SEEDS = 5
RANGES = {"images 0 to 1": 1, "images 0 to 255": 255}
RUNS = {
    (name, optimizer, images): Run(
        script_layers(norm), largest_pixel=largest, **SETTINGS, **options
    )
    for optimizer, options in OPTIMIZERS.items()
    for images, largest in RANGES.items()
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
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
    grid = tables.grid(test, "optimizer, images")
    return f"{grid}\n\n{tables.differences(pairs)}"
