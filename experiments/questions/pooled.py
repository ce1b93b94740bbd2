"""Why is test accuracy lower than validation accuracy?"""

import tables
from runs import NETWORKS, Run

SEEDS = 3
RUNS = {
    (split, name): Run(network, pooled=pooled)
    for split, pooled in {"as published": False, "pooled and split again": True}.items()
    for name, network in NETWORKS.items()
}


def report(found):
    validation, test = tables.validation_and_test(found)
    lower = {tables.text(label): (test[label], validation[label]) for label in found}
    yield tables.table([validation, test])
    yield "Test accuracy minus validation accuracy:"
    yield tables.differences(lower)
