"""Does it replace scaling the inputs?"""

import tables
from questions.depth import OPTIMIZERS, SETTINGS
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 5
SGD, ADAM = OPTIMIZERS["SGD with momentum"], OPTIMIZERS["Adam"]
RATES = 0.01, 0.001, 0.0003, 0.0001
WAYS = {"Adam, 0.001": ADAM} | {
    f"SGD, {rate}": SGD | {"learning_rate": rate} for rate in RATES
}
RANGES = {"0 to 1": 1, "0 to 255": 255}
RUNS = {
    (name, f"{way}, pixels {pixels}"): Run(
        network, largest_pixel=largest, **SETTINGS | options
    )
    for way, options in WAYS.items()
    for pixels, largest in RANGES.items()
    for name, network in NETWORKS.items()
}


def report(found):
    yield tables.medians(
        tables.after(found, "test_accuracy"), "optimizer, rate, pixels"
    )


def details(found):
    validation, test = tables.validation_and_test(found)
    yield tables.grid(validation, "optimizer, rate, pixels")
    yield tables.grid(test, "optimizer, rate, pixels")
    yield "Pixels from 0 to 255 minus pixels from 0 to 1:"
    labels = {
        f"{name}, {way}": (
            (name, f"{way}, pixels 0 to 255"),
            (name, f"{way}, pixels 0 to 1"),
        )
        for name in NETWORKS
        for way in ("Adam, 0.001", "SGD, 0.01")
    }
    yield tables.differences(test, labels)
    yield "Without it, pixels from 0 to 255 at other rates minus pixels from 0 to 1 at 0.01:"
    labels = {
        f"{rate}": (
            (WITHOUT, f"SGD, {rate}, pixels 0 to 255"),
            (WITHOUT, "SGD, 0.01, pixels 0 to 1"),
        )
        for rate in (0.0003, 0.0001)
    }
    yield tables.differences(test, labels)
    yield "Pixels from 0 to 255, with it at 0.01 minus without it at 0.0003:"
    labels = {
        "difference": (
            (WITH, "SGD, 0.01, pixels 0 to 255"),
            (WITHOUT, "SGD, 0.0003, pixels 0 to 255"),
        )
    }
    yield tables.differences(test, labels)
    yield tables.losses_of_failures(found)
