"""With SGD on all images: the same?"""

from dataclasses import replace

import tables
from figures import WITH, WITHOUT
from questions import sgd_learning_rates

SEEDS = 3
# Each network's best rate on 10,000 images (by validation), and ten times the lower one.
RATES = 0.3, 1.0, 3.0
RUNS = {
    label: replace(sgd_learning_rates.RUNS[label], train_images=None, batch_size=250)
    for rate in RATES
    for label in (f"{WITH}, {rate}", f"{WITHOUT}, {rate}")
}


def report(found):
    networks = WITH, WITHOUT
    return (
        tables.grids(found, RATES, networks, "learning rate")
        + "\n\n"
        + tables.at_their_best(found, RATES, networks)
    )
