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
