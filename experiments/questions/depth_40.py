"""At 40 convolutions, does a longer training or He initialization help the layers?"""

import tables
from questions.depth import OPTIMIZERS, SETTINGS, layers_minus_others, plain_stack
from runs import BATCH_NORM, HE, WITH, Run

BOTH = "with Batch Normalization and He initialization"
SEEDS = 3
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
    early, late = [tables.after(found, "test_accuracy", epoch) for epoch in (3, 9)]
    gains = {tables.text(label): (late[label], early[label]) for label in found}
    yield tables.grid(early, corner)
    yield tables.grid(late, corner)
    yield layers_minus_others(late, corner)
    yield "Test accuracy after nine epochs minus that after three:"
    yield tables.differences(gains)
