"""Together with dropout?"""

import tables
from runs import Run, layer, script_layers
from tables import After

DROPOUT = layer("Dropout", rate=0.5)
SEEDS = 3
RUNS = {
    "Batch Normalization, no dropout": Run(epochs=25),
    "dropout after the last BatchNormalization": Run(
        script_layers(after_last_norm=DROPOUT)
    ),
    "dropout before the last BatchNormalization": Run(
        script_layers(before_last_norm=DROPOUT)
    ),
    "neither": Run(script_layers(norm=None), epochs=25),
    "dropout alone": Run(script_layers(norm=None, after_last_norm=DROPOUT)),
}


def report(found):
    values = tables.chosen(found, [After("val_accuracy", 5), After("test_accuracy", 5)])
    with_the_layers, without = values.iloc[: 3 * SEEDS], values.iloc[3 * SEEDS :]
    return "\n\n".join(
        tables.table(part, reference=part.index[0][0])
        for part in (with_the_layers, without)
    )
