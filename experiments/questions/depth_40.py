"""At 40 convolutions, does a longer training or He initialization help the layers?"""

import tables
from questions.depth import OPTIMIZERS, SETTINGS, layers_minus_others, plain_stack
from runs import BATCH_NORM, HE, WITH, Run

BOTH = "with Batch Normalization and He initialization"

SEEDS = 5
RUNS = {
    (name, optimizer, 40): Run(network, **SETTINGS | options | {"epochs": 9})
    for optimizer, options in OPTIMIZERS.items()
    for name, network in {
        WITH: plain_stack(40, BATCH_NORM),
        HE: plain_stack(40, kernel_initializer="he_normal"),
        BOTH: plain_stack(40, BATCH_NORM, kernel_initializer="he_normal"),
    }.items()
}


def report(found):
    corner = "optimizer, convolutions"
    test = tables.after(found, "test_accuracy")
    yield tables.grid(tables.after(found, "test_accuracy", 3), corner)
    yield tables.grid(test, corner)
    yield layers_minus_others(test, corner)
