"""How small may a batch be?"""

import tables
from questions import averages
from runs import NETWORKS, WITH, Run

SEEDS = 5
SIZES = 2, 4, 8, 16, 50, 250
LOWER_RATE = "4, learning rate 0.0003"
MEASUREMENT = averages.Statistics


def run(network, size, learning_rate=0.001):
    return Run(
        network,
        train_images=10_000,
        batch_size=size,
        learning_rate=learning_rate,
        epochs=3,
    )


RUNS = {
    (name, size): run(network, size)
    for size in SIZES
    for name, network in NETWORKS.items()
} | {
    (name, LOWER_RATE): run(network, 4, learning_rate=0.0003)
    for name, network in NETWORKS.items()
}


def report(found):
    yield tables.pairs(tables.after(found, "test_accuracy"), "batch size")


def details(found):
    yield tables.pairs(tables.after(found, "val_accuracy"), "batch size")
    lower = {name: ((name, LOWER_RATE), (name, 4)) for name in NETWORKS}
    yield "Batches of 4, learning rate 0.0003 minus 0.001:"
    yield tables.differences(tables.after(found, "test_accuracy"), lower)
    yield "The same weights with three kinds of statistics, as in the question about averages:"
    with_it = found[WITH].rename(columns="batch size {}".format)
    yield from averages.report(with_it)
    yield from averages.details(with_it)
