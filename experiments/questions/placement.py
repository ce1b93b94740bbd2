"""Before or after the activation, and how many?"""

import tables
from runs import WITHOUT, Run, script_layers

SEEDS = 3
RATES = 0.001, 0.01
SCRIPTS = "after ReLU and after pooling, five layers, as in the script"
AFTER = "after ReLU, three layers"
BEFORE = "before ReLU, three layers, as in the paper"
NETWORKS = {
    WITHOUT: script_layers(norm=None),
    SCRIPTS: script_layers(),
    AFTER: script_layers(after_pooling=False),
    BEFORE: script_layers(before_relu=True, after_pooling=False),
}
RUNS = {
    (rate, name): Run(network, learning_rate=rate)
    for rate in RATES
    for name, network in NETWORKS.items()
}


def report(found):
    for rate in RATES:
        columns = [series[rate] for series in tables.validation_and_test(found)]
        yield tables.table(columns, f"learning rate {rate}", reference=SCRIPTS)
        yield f"“{AFTER}” minus “{BEFORE}”:"
        yield tables.differences({of.name: (of[AFTER], of[BEFORE]) for of in columns})
