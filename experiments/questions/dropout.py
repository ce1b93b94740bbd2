"""Does it work together with dropout?"""

import tables
from runs import Run, layer, script_layers

SEEDS = 3
DROPOUT = layer("Dropout", rate=0.5)
SCRIPT = script_layers()
NONE = "Batch Normalization, no dropout"
AFTER = "dropout after the last BatchNormalization"
BEFORE = "dropout before the last BatchNormalization"
WITH_THE_LAYERS = {
    NONE: Run(),
    AFTER: Run([*SCRIPT, DROPOUT]),
    BEFORE: Run([*SCRIPT[:-1], DROPOUT, SCRIPT[-1]]),
}
NEITHER = "neither"
WITHOUT = {
    NEITHER: Run(script_layers(norm=None)),
    "dropout alone": Run([*script_layers(norm=None), DROPOUT]),
}
RUNS = WITH_THE_LAYERS | WITHOUT


def report(found):
    with_the_layers, without = found[[*WITH_THE_LAYERS]], found[[*WITHOUT]]
    columns = tables.validation_and_test(with_the_layers)
    yield tables.table(columns, reference=NONE)
    yield tables.table(tables.validation_and_test(without), reference=NEITHER)
    yield f"“{AFTER}” minus “{BEFORE}”:"
    yield tables.differences({of.name: (of[AFTER], of[BEFORE]) for of in columns})
