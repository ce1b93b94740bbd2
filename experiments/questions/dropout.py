"""Together with dropout?"""

import tables
from runs import Run, layer, script_layers

SEEDS = 3
DROPOUT = layer("Dropout", rate=0.5)
NONE = ("Batch Normalization, no dropout",)
AFTER = ("dropout after the last BatchNormalization",)
BEFORE = ("dropout before the last BatchNormalization",)
WITH_THE_LAYERS = {
    NONE: Run(),
    AFTER: Run(script_layers(after_last_norm=DROPOUT)),
    BEFORE: Run(script_layers(before_last_norm=DROPOUT)),
}
NEITHER = ("neither",)
WITHOUT = {
    NEITHER: Run(script_layers(norm=None)),
    ("dropout alone",): Run(script_layers(norm=None, after_last_norm=DROPOUT)),
}
RUNS = WITH_THE_LAYERS | WITHOUT


def report(found):
    with_the_layers = {label: found[label] for label in WITH_THE_LAYERS}
    without = {label: found[label] for label in WITHOUT}
    columns = tables.validation_and_test(with_the_layers)
    return "\n\n".join(
        [
            tables.table(columns, reference=NONE),
            tables.table(tables.validation_and_test(without), reference=NEITHER),
            f"“{tables.text(AFTER)}” minus “{tables.text(BEFORE)}”:",
            tables.differences({of.name: (of[AFTER], of[BEFORE]) for of in columns}),
        ]
    )
