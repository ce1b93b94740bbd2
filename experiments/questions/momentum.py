"""What does the momentum change?"""

import figures
import tables
from runs import Run, layer, script_layers

SEEDS = 3
MOMENTA = 0.9, 0.99, 0.999
RUNS = {
    f"momentum {momentum}": Run(
        script_layers(layer("BatchNormalization", momentum=momentum))
    )
    for momentum in MOMENTA
}


def report(found):
    columns = [tables.after(found, "val_accuracy", epoch) for epoch in range(1, 6)]
    losses = found.map(lambda line: line["history"]["loss"])
    same = (losses.iloc[:, 0] == losses.iloc[:, 1]).sum()
    yield tables.table(columns)
    yield (
        "The training losses of the first two agree in all five digits of"
        f" results.jsonl with {same} of {tables.plural(len(found), 'seed')}."
    )


def draw(found):
    figure, row = figures.new(columns=len(MOMENTA), size=(9, 3.4), sharey=True)
    for axes, (momentum, lines) in zip(row, found.items()):
        for number, line in enumerate(lines):
            for name, look in ("accuracy", "--"), ("val_accuracy", "-"):
                curve = line["history"][name]
                axes.plot(
                    range(1, len(curve) + 1),
                    curve,
                    color=figures.COLORS[figures.WITH],
                    linestyle=look,
                    marker="o",
                    markersize=3,
                    label=None if number else tables.QUANTITIES[name],
                )
        axes.axhline(figures.CHANCE, color="gray", linestyle=":")
        axes.set(title=momentum, xlabel="epoch", ylim=(0, 1.02))
    row[0].text(1, figures.CHANCE + 0.015, "chance", color="gray")
    row[0].legend(title="each seed a line", loc="center right")
    row[1].set_title(f"{row[1].get_title()} (Keras' default)")
    return figure
