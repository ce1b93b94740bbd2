"""Unscaled inputs without the layers: is it the rate that fails, or the scale?"""

import tables
from questions.depth import OPTIMIZERS, SETTINGS
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 5
SGD = OPTIMIZERS["SGD with momentum"]
RUNS = {
    (name, images, rate): Run(
        network,
        largest_pixel=largest,
        **SETTINGS | SGD | {"learning_rate": rate},
    )
    for images, largest in {"0 to 1": 1, "0 to 255": 255}.items()
    for rate in (0.01, 0.001, 0.0001)
    for name, network in NETWORKS.items()
}


def report(found):
    validation, test = tables.validation_and_test(found)
    corner = "pixels, learning rate of SGD"
    best = {
        "without the layers, 0 to 255 at 0.0001 minus 0 to 1 at 0.01": (
            test[WITHOUT, "0 to 255", 0.0001],
            test[WITHOUT, "0 to 1", 0.01],
        ),
        "0 to 255, with the layers at 0.01 minus without them at 0.0001": (
            test[WITH, "0 to 255", 0.01],
            test[WITHOUT, "0 to 255", 0.0001],
        ),
    }
    yield tables.grid(validation, corner)
    yield tables.grid(test, corner)
    yield "Test accuracy:"
    yield tables.differences(best)
