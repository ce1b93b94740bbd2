"""Why is test accuracy lower than validation accuracy?"""

import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers

SEEDS = 3
RUNS = {
    (split, name): Run(script_layers(norm), pooled=pooled)
    for split, pooled in {"as published": False, "pooled and split again": True}.items()
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


def report(found):
    validation, test = tables.validation_and_test(found)
    lower = {tables.text(label): (test[label], validation[label]) for label in found}
    return "\n\n".join(
        [
            tables.table([validation, test]),
            "Test accuracy minus validation accuracy:",
            tables.differences(lower),
        ]
    )
