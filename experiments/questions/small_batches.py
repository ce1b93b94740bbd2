"""How small may a batch be?"""

import tables
from questions import averages
from runs import NETWORKS, WITH, Run

SEEDS = 5
MEASUREMENT = averages.Statistics
RUNS = {
    (name, size): Run(network, train_images=10_000, batch_size=size, epochs=3)
    for size in (2, 4, 8, 16, 50, 250)
    for name, network in NETWORKS.items()
}


def report(found):
    with_the_layers = found[WITH].rename(columns="batch size {}".format)
    yield tables.pairs(tables.validation_and_test(found), "batch size")
    yield from averages.report(with_the_layers)
