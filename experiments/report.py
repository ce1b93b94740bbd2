"""The tables and figures of the experiments, from the lines of results.jsonl alone.

A run is a dict, a line of results.jsonl. `Results` finds the runs of a setting; a cell of a table
is the mean of its seeds and their standard deviation, or "-" where there is no run.
"""

import re
import statistics

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

LEARNING_RATES = 0.001, 0.003, 0.01, 0.03, 0.1
SMALL_BATCHES = 2, 4, 16, 50, 250
NAMES = {"with": "with Batch Normalization", "without": "without"}


class Results:
    """The runs by setting, in the order of their seeds."""

    def __init__(self, lines):
        self.runs = {}
        for line in sorted(lines, key=lambda line: line["seed"]):
            self.runs.setdefault(line["setting"], []).append(line)

    def get(self, setting, function, seeds=3):
        """Return function(run) of the setting's runs with these seeds, but for those that lack it.

        seeds is how many: what is compared has to have the same seeds, though the default run has
        more of them than the others.
        """
        values = []
        for run in self.runs.get(setting, [])[:seeds]:
            try:
                values.append(function(run))
            except (KeyError, IndexError):  # a run of fewer epochs, say
                pass
        return values

    def seeds(self, *settings, seeds=3):
        """Return the number of seeds behind the settings."""
        numbers = [len(self.runs.get(setting, [])[:seeds]) for setting in settings]
        low, high = min(numbers), max(numbers)
        return f"{low}" if low == high else f"{low} to {high}"


def rate_setting(network, rate):
    """Return the name of the setting with a learning rate, and the epoch at which it is tested."""
    if rate == 0.001:
        return f"{network}, 25 epochs"
    return f"{network}, learning rate {rate}, 10 epochs"


def validation(epoch):
    return lambda run: run["history"]["val_accuracy"][epoch - 1]


def test_after(epoch):
    """Return a function(run): the test accuracy after this epoch, the run's last or another."""
    def accuracy(run):
        is_last = epoch == len(run["history"]["loss"])
        return run["test_accuracy"] if is_last else run["after"][str(epoch)]["test_accuracy"]
    return accuracy


def dead_after(epoch):
    return lambda run: run["after"][str(epoch)]["dead"]


def test(run):
    return run["test_accuracy"]


def last_validation(run):
    return run["history"]["val_accuracy"][-1]


def summary(values):
    """Return mean ± standard deviation of the seeds as text."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def every(values):
    """Return the values of the seeds, one by one, as text."""
    return ", ".join(f"{value:.3f}" for value in values) or "-"


def first_epoch(run, target=0.97):
    """Return the first epoch with a validation accuracy, infinity if there is none."""
    accuracy = run["history"]["val_accuracy"]
    return next((epoch for epoch, value in enumerate(accuracy, 1) if value >= target), float("inf"))


def parameters(results, setting):
    """Return the number of a setting's parameters as text."""
    numbers = results.get(setting, lambda run: run["parameters"])
    return f"{numbers[0]:,}" if numbers else "-"


def extent(values):
    """Return the smallest and the largest of the seeds' values as text."""
    if not values:
        return "-"
    low, high = (f"{value:.0f}" if value < float("inf") else "never"
                 for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def table(head, rows):
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def tables(results):
    """Return all tables, Markdown by name."""
    get = results.get
    made = {}

    rows = []
    for network, name in NAMES.items():
        setting = f"{network}, 25 epochs"
        rows.append([name, *(summary(get(setting, validation(epoch), 5)) for epoch in (1, 5, 25)),
                     extent(get(setting, first_epoch, 5)), summary(get(setting, test, 5)),
                     results.seeds(setting, seeds=5)])
    made["default"] = table(
        ["network", "validation accuracy after epoch 1", "after 5", "after 25",
         "first epoch with 0.97", "test accuracy after 25", "seeds"], rows)

    rows = []
    for rate in LEARNING_RATES:
        names = [rate_setting(network, rate) for network in NAMES]
        rows.append([rate, *(extent(get(name, first_epoch)) for name in names),
                     *(summary(get(name, validation(10))) for name in names),
                     *(summary(get(name, test_after(10))) for name in names),
                     results.seeds(*names)])
    made["rates"] = table(
        ["learning rate", "first epoch with 0.97, with the layers", "without",
         "validation accuracy after 10, with the layers", "without",
         "test accuracy, with the layers", "without", "seeds"], rows)
    made["best rate"] = best_rate(results)

    rows = []
    for rate in LEARNING_RATES:
        names = [rate_setting(network, rate) for network in NAMES]
        rows.append([rate, *(every(get(name, dead_after(10))) for name in names),
                     every(get(names[1], test_after(10)))])
    made["dead"] = table(
        ["learning rate", "share of dead units, with the layers", "without",
         "test accuracy, without"], rows)

    rows = []
    for label, setting, epoch in (
            ("the default run, 5 epochs", "with, 25 epochs", 5),
            ("the default run, 25 epochs", "with, 25 epochs", 25),
            ("learning rate 0.1, 5 epochs", "with, learning rate 0.1, 10 epochs", 5),
            ("learning rate 0.1, 10 epochs", "with, learning rate 0.1, 10 epochs", 10),
            ("momentum 0.99, 2 epochs", "with, momentum 0.99, 5 epochs", 2),
            ("momentum 0.99, 5 epochs", "with, momentum 0.99, 5 epochs", 5),
            ("batch size 4, 10,000 images, 3 epochs", "with, batch size 4, 3 epochs", 3),
            ("batch size 2, 10,000 images, 3 epochs", "with, batch size 2, 3 epochs", 3)):
        kinds = [get(setting, lambda run: run["after"][str(epoch)]["statistics"][kind])
                 for kind in ("moving", "batch", "recomputed")]
        rows.append([label, *(every(values) for values in kinds)])
    made["statistics"] = table(
        ["trained with", "test accuracy with the moving averages", "each test batch's statistics",
         "recomputed statistics"], rows)

    rows = []
    for momentum, setting in (0.9, "with, 25 epochs"), (0.99, "with, momentum 0.99, 5 epochs"):
        rows.append([momentum, *(summary(get(setting, validation(epoch))) for epoch in range(1, 6)),
                     results.seeds(setting)])
    made["momentum"] = table(
        ["momentum", "validation accuracy after epoch 1", "2", "3", "4", "5", "seeds"], rows)

    rows = []
    for size in SMALL_BATCHES:
        names = [f"{network}, batch size {size}, 3 epochs" for network in NAMES]
        rows.append([size, *(summary(get(name, last_validation)) for name in names),
                     *(summary(get(name, test)) for name in names), results.seeds(*names)])
    made["small batches"] = table(
        ["batch size", "validation accuracy, with the layers", "without",
         "test accuracy, with the layers", "without", "seeds"], rows)

    rows = []
    for policy, setting in (("float32", "with, 25 epochs"),
                            ("mixed_bfloat16", "with, mixed_bfloat16, 10 epochs")):
        rows.append([policy, summary(get(setting, validation(10))),
                     summary(get(setting, test_after(10))), results.seeds(setting)])
    made["precision"] = table(
        ["precision", "validation accuracy after 10 epochs", "test accuracy", "seeds"], rows)

    rows = []
    for network, name in NAMES.items():
        published, pooled = f"{network}, 25 epochs", f"{network}, pooled, 5 epochs"
        rows.append([name, summary(get(published, validation(5))),
                     summary(get(published, test_after(5))), summary(get(pooled, validation(5))),
                     summary(get(pooled, test_after(5))), results.seeds(pooled)])
    made["pooled"] = table(
        ["network", "published split: validation accuracy after 5 epochs", "test accuracy",
         "pooled and split again: validation accuracy", "test accuracy", "seeds"], rows)

    made |= question_tables(results)
    return made


def best_rate(results):
    """Return a sentence: the learning rate that is best on validation data, and its test."""
    parts = []
    for network, name in NAMES.items():
        means = {rate: statistics.mean(values) for rate in LEARNING_RATES
                 if (values := results.get(rate_setting(network, rate), validation(10)))}
        if means:
            best = max(means, key=means.get)
            tested = summary(results.get(rate_setting(network, best), test_after(10)))
            parts.append(f"{name}, {best}, with a test accuracy of {tested}")
    return f"Best on the validation data after ten epochs: {'; '.join(parts)}."


def question_tables(results):
    """Return the tables of the questions about where the layer goes and what goes with it."""
    get = results.get
    made = {}

    places = {"after ReLU and after pooling, five layers, as in the script": "with",
              "after ReLU, three layers": "after ReLU",
              "before ReLU, three layers, as in the paper": "before ReLU", "none": "without"}
    rows = []
    for label, network in places.items():
        cells = []
        if network in NAMES:
            settings = [rate_setting(network, rate) for rate in (0.001, 0.01)]
        else:
            settings = [f"{network}, learning rate {rate}, 5 epochs" for rate in (0.001, 0.01)]
        for setting in settings:
            cells += [summary(get(setting, validation(5))), summary(get(setting, test_after(5)))]
        rows.append([label, *cells, parameters(results, settings[0]), results.seeds(*settings)])
    made["placement"] = table(
        ["BatchNormalization", "learning rate 0.001: validation accuracy", "test accuracy",
         "learning rate 0.01: validation accuracy", "test accuracy", "parameters", "seeds"], rows)

    rows = []
    for label, setting in (("with biases", "before ReLU, learning rate 0.001, 5 epochs"),
                           ("`use_bias=False`", "before ReLU, no bias, 5 epochs")):
        rows.append([label, summary(get(setting, validation(5))),
                     summary(get(setting, test_after(5))), parameters(results, setting),
                     results.seeds(setting)])
    made["bias"] = table(["before ReLU", "validation accuracy", "test accuracy", "parameters",
                          "seeds"], rows)

    rows = []
    for label, network in (
            ("BatchNormalization, as in the script", "with"),
            ("BatchNormalization before ReLU, three layers", "before ReLU"),
            ("BatchNormalization, `renorm=True`, nothing clipped", "renorm"),
            ("GroupNormalization, 8 groups", "GroupNormalization"),
            ("LayerNormalization", "LayerNormalization"), ("none", "without")):
        names = [f"{network}, batch size {size}, 3 epochs" for size in (2, 4)]
        rows.append([label, *(summary(get(name, value)) for name in names
                              for value in (last_validation, test)), results.seeds(*names)])
    made["instead"] = table(
        ["layer", "batch size 2: validation accuracy", "test accuracy",
         "batch size 4: validation accuracy", "test accuracy", "seeds"], rows)

    rows = []
    for label, setting in (
            ("Batch Normalization, no dropout", "with, 25 epochs"),
            ("dropout after the last BatchNormalization", "dropout, 5 epochs"),
            ("dropout before the last BatchNormalization", "dropout before, 5 epochs"),
            ("neither", "without, 25 epochs"), ("dropout alone", "dropout without, 5 epochs")):
        rows.append([label, summary(get(setting, validation(5))),
                     summary(get(setting, test_after(5))), results.seeds(setting)])
    made["dropout"] = table(["network", "validation accuracy after 5 epochs", "test accuracy",
                             "seeds"], rows)

    rows = []
    for label, frozen in (("all but the last layer, `trainable = False`", "all"),
                          ("the same, but the averages move", "gamma and beta"),
                          ("nothing", "nothing")):
        setting = f"with, frozen: {frozen}, 5 epochs"
        rows.append([label, summary(get(setting, test)),
                     summary(get(setting, lambda run: run["old_before"])),
                     summary(get(setting, lambda run: run["old_after"])), results.seeds(setting)])
    made["freezing"] = table(
        ["frozen while training on classes 5 to 9", "test accuracy on classes 5 to 9",
         "on 0 to 4 before", "on 0 to 4 after, with the old last layer", "seeds"], rows)
    return made


def fill(text, made):
    """Return a Markdown text with the tables put between their markers."""
    for name, markdown in made.items():
        start, end = f"<!-- table: {name} -->\n", "\n<!-- end -->"
        text = re.sub(re.escape(start) + ".*?" + re.escape(end),
                      lambda match: start + markdown + end, text, flags=re.DOTALL)
    return text


# --- Figures: every seed is a dot or a line ------------------------------------------------------

LOOKS = {"with": ("C0", "o", "-"), "without": ("C1", "s", "--")}


def draw_learning_rates(results, path):
    """Draw test accuracy after ten epochs over the learning rate."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for network, (color, marker, line) in LOOKS.items():
        means = {}
        for rate in LEARNING_RATES:
            values = results.get(rate_setting(network, rate), test_after(10))
            axes.plot([rate] * len(values), values, color + marker, alpha=0.6)
            if values:
                means[rate] = statistics.mean(values)
        axes.plot(means.keys(), means.values(), color + line, label=NAMES[network])
    axes.axhline(0.1, color="gray", linestyle=":")
    axes.text(LEARNING_RATES[0], 0.115, "chance", color="gray")
    axes.set(xscale="log", xlabel="Adam's learning rate", xlim=(0.0008, 0.125), ylim=(0, 1),
             ylabel="test accuracy after 10 epochs")
    axes.set_xticks(LEARNING_RATES, LEARNING_RATES)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(title="each seed a dot, their mean a line", loc="lower left",
                bbox_to_anchor=(0, 0.15))
    figure.savefig(path, dpi=110)


def draw_curves(results, path):
    """Draw the validation accuracy of the default run over its epochs."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for network, (color, _, line) in LOOKS.items():
        for number, run in enumerate(results.runs.get(f"{network}, 25 epochs", [])):
            accuracy = run["history"]["val_accuracy"]
            axes.plot(range(1, len(accuracy) + 1), accuracy, color + line, linewidth=1,
                      label=None if number else NAMES[network])
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(title="each seed a line")
    figure.savefig(path, dpi=110)


def draw_percentiles(results, path):
    """Draw how a typical input of the last layer is distributed, over the training steps."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True)
    for row, rate in zip(grid, (0.001, 0.1)):
        for axes, network in zip(row, NAMES):
            runs = results.get(rate_setting(network, rate), lambda run: run["percentiles"])
            for followed, line in zip(runs, ("-", "--", ":")):
                for values, color in zip(followed["values"], ("C0", "C2", "C3")):
                    axes.plot(followed["steps"], values, color + line, linewidth=1)
            axes.set(title=f"{NAMES[network]}, learning rate {rate}", xlabel="training step")
    for axes in grid[:, 0]:
        axes.set_ylabel("input of the last layer")
    for color, label in ("C3", "85th percentile"), ("C2", "50th"), ("C0", "15th"):
        grid[0, 0].plot([], [], color, label=label)
    grid[0, 0].legend()
    figure.savefig(path, dpi=110)


def draw_samples(data, path):
    """Draw ten images of each of KMNIST's ten classes, a row each."""
    (x, y), _ = data
    figure = Figure(figsize=(6, 6.8))
    for row, name in enumerate(("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")):
        for column, image in enumerate(x[y == row][:10]):
            axes = figure.add_axes([0.1 + 0.088 * column, 0.905 - 0.09 * row, 0.084, 0.084])
            axes.imshow(image, cmap="gray_r")
            axes.set_axis_off()
        figure.text(0.08, 0.947 - 0.09 * row, name, ha="right", va="center", fontsize=13)
    figure.text(0.5, 0.045, "“KMNIST Dataset” (created by CODH), adapted from “Kuzushiji Dataset”\n"
                "(created by NIJL and others), doi:10.20676/00000341, licensed CC BY-SA 4.0",
                ha="center", va="center", fontsize=7)
    figure.savefig(path, dpi=110)
