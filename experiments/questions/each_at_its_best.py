"""And with each at its best, a higher learning rate that decays?"""

import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers

SEEDS = 5
RUNS = {
    (name,): Run(script_layers(norm), learning_rate=0.003, cosine_decay=True, epochs=25)
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


def report(found):
    columns = tables.validation_and_test(found)
    return "\n\n".join(
        [
            tables.table(columns),
            "The difference that the layers make:",
            tables.differences({of.name: (of[WITH], of[WITHOUT]) for of in columns}),
        ]
    )
