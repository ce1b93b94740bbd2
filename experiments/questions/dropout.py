"""Together with dropout?"""

import tables
from runs import Run, layer, script_layers
from tables import After

DROPOUT = layer("Dropout", rate=0.5)
SEEDS = 3
WITH_THE_LAYERS = {
    "Batch Normalization, no dropout": Run(epochs=25),
    "dropout after the last BatchNormalization": Run(
        script_layers(after_last_norm=DROPOUT)
    ),
    "dropout before the last BatchNormalization": Run(
        script_layers(before_last_norm=DROPOUT)
    ),
}
WITHOUT = {
    "neither": Run(script_layers(norm=None), epochs=25),
    "dropout alone": Run(script_layers(norm=None, after_last_norm=DROPOUT)),
}
RUNS = WITH_THE_LAYERS | WITHOUT


def report(found):
    values = tables.chosen(found, [After("val_accuracy", 5), After("test_accuracy", 5)])
    parts = [
        tables.table(values.loc[list(part)], reference=next(iter(part)))
        for part in (WITH_THE_LAYERS, WITHOUT)
    ]
    _, after, before = WITH_THE_LAYERS
    parts.append(f"“{after}” minus “{before}”:")
    parts.append(tables.differences(values, after, before))
    return "\n\n".join(parts)
