"""How small may a batch be?"""

import tables
from questions import averages
from runs import NETWORKS, WITH, WITHOUT, Run

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
