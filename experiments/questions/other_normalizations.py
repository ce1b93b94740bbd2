"""What can replace it when batches must be small?"""

import tables
from runs import BATCH_NORM, WITHOUT, Run, layer, script_layers

SEEDS = 5
SIZES = 2, 4
NETWORKS = {
    WITHOUT: script_layers(norm=None),
    "BatchNormalization, as in the script": script_layers(),
    "BatchNormalization before ReLU, three layers": script_layers(
        BATCH_NORM, before_relu=True, after_pooling=False
    ),
    # Keras 3.14 or later. The averages' momentum has to be that of renorm's own, 0.99,
    # Keras' default for both.
    "BatchNormalization, `renorm=True`, nothing clipped": script_layers(
        layer("BatchNormalization", renorm=True)
    ),
    "GroupNormalization, 8 groups": script_layers(
        layer("GroupNormalization", groups=8)
    ),
    "GroupNormalization, one group": script_layers(
        layer("GroupNormalization", groups=1)
    ),
    "LayerNormalization": script_layers(layer("LayerNormalization")),
}
RUNS = {
    (name, size): Run(network, train_images=10_000, batch_size=size, epochs=3)
    for size in SIZES
    for name, network in NETWORKS.items()
}


def by_network(found, size):
    """Return a table of the networks with this batch size."""
    columns = tables.validation_and_test(found)
    of_size = [series.xs(size, level=1) for series in columns]
    return tables.table(of_size, f"batch size {size}", reference=WITHOUT)


def report(found):
    yield by_network(found, 4)


def details(found):
    yield by_network(found, 2)
