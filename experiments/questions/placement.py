"""Before or after the activation, and how many?"""

import tables
from figures import WITHOUT
from runs import Run, script_layers
from tables import After

SEEDS = 3
RATES = 0.001, 0.01
AFTER = "after ReLU, three layers"
BEFORE = "before ReLU, three layers, as in the paper"
NETWORKS = {
    WITHOUT: script_layers(norm=None),
    "after ReLU and after pooling, five layers, as in the script": script_layers(),
    AFTER: script_layers(after_pooling=False),
    BEFORE: script_layers(before_relu=True, after_pooling=False),
}
# The script's network and the one without are trained for longer for other questions.
LONGER = {0.001: 25, 0.01: 10}
RUNS = {
    f"{name}, {rate}": Run(
        network,
        learning_rate=rate,
        epochs=5 if name in (AFTER, BEFORE) else LONGER[rate],
    )
    for rate in RATES
    for name, network in NETWORKS.items()
}


def report(found):
    parts = []
    for rate in RATES:
        at_rate = {name: found[f"{name}, {rate}"] for name in NETWORKS}
        values = tables.chosen(
            at_rate, [After("val_accuracy", 5), After("test_accuracy", 5)]
        )
        values.index.names = [f"learning rate {rate}", "seed"]
        parts.append(tables.table(values, reference=list(NETWORKS)[1]))
        parts.append(f"“{AFTER}” minus “{BEFORE}”:")
        parts.append(tables.differences(values, AFTER, BEFORE))
    return "\n\n".join(parts)
