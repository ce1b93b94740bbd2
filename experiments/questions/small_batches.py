"""How small may a batch be?"""

import tables
from questions import averages
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 5
SIZES = 2, 4, 8, 16, 50, 250
MEASUREMENT = averages.Statistics
RUNS = {
    (name, size): Run(network, train_images=10_000, batch_size=size, epochs=3)
    for size in SIZES
    for name, network in NETWORKS.items()
}


def report(found):
    with_the_layers = found[WITH].rename(columns="batch size {}".format)
    validation, test = tables.validation_and_test(found)
    gains = {
        size: (validation[WITH, size], validation[WITHOUT, size]) for size in SIZES
    }
    yield tables.pairs([validation, test], "batch size")
    yield "What the layers add to validation accuracy, by batch size:"
    yield tables.differences(gains)
    yield from averages.report(with_the_layers)
