"""At 40 convolutions: a longer training, and He initialization with the layers?"""

import tables
from figures import BOTH, HE
from questions.depth import OPTIMIZERS, SETTINGS, layers_minus_others, plain_stack
from runs import BATCH_NORM, WITH, Run

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
    for epoch in (3, 9):
        test = tables.after(found, "test_accuracy", epoch)
        yield tables.grid(test, corner)
    yield layers_minus_others(test, corner)
