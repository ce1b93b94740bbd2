"""Why is test accuracy lower than validation accuracy?"""

import tables
from runs import NETWORKS, Run

SEEDS = 3
RUNS = {
    (name, split): Run(network, pooled=pooled)
    for split, pooled in {"as published": False, "pooled and split again": True}.items()
    for name, network in NETWORKS.items()
}


def report(found):
    yield tables.table(tables.validation_and_test(found))


def details(found):
    validation, test = tables.validation_and_test(found)
    yield tables.changes(test, validation, "test minus validation")
    yield tables.pairs(test, "test images")
    errors = 1 - tables.by_network(test, "mean").T
    as_published, split_again = errors.columns
    ratios = errors[as_published] / errors[split_again]
    yield (
        f"Errors on the test images {as_published} over those {split_again}: "
        + ", ".join(f"{ratio:.2f} {name}" for name, ratio in ratios.items())
    )
