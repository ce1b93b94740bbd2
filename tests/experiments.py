"""Repeat the measurements of the README: all its tables and figures that report accuracy.

    python tests/experiments.py

Each run is one of the script's own. The results file lists it under its options, with which
`python model_batchnorm.py OPTIONS` repeats it alone; a run that the file has is not repeated, so an
interrupted call goes on where it stopped. images/curves.png is the script's own figure.
"""

import argparse
import contextlib
import io
import json
import re
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import keras
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

import model_batchnorm

LEARNING_RATES = 0.001, 0.003, 0.01, 0.03, 0.1
EPOCHS = {2: 6, 4: 6, 16: 6, 50: 25, 250: 25}  # by batch size; those of small batches take long
WAYS = {"with Batch Normalization": "", "without": " --no-batch-norm"}
CLASSES = {"kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")}
ATTRIBUTION = """“KMNIST Dataset” (created by CODH), adapted from “Kuzushiji Dataset”
(created by NIJL and others), doi:10.20676/00000341, licensed CC BY-SA 4.0"""


def settings(epochs):
    """Return the options of all runs, but for data set and seed.

    epochs: of every run, or None for those of EPOCHS. Returns what each costs, then the options by
    learning rate and way, by batch size and way, by batch size at momentum 0.99, by precision.
    """
    costs = {}

    def add(batch_size, others):
        number = epochs or EPOCHS[batch_size]
        options = f"--batch-size {batch_size} --epochs {number}{others}"
        costs[options] = number * (1 + 25 / batch_size)  # a step costs as much as 25 images
        return options

    rates = {rate: [add(250, f" --learning-rate {rate}{way}") for way in WAYS.values()]
             for rate in LEARNING_RATES}
    sizes = {size: [add(size, way) for way in WAYS.values()] for size in EPOCHS if size != 250}
    sizes[250] = rates[0.001]
    lagging = {size: add(size, " --momentum 0.99") for size in (50, 250)}
    precisions = {"float32": rates[0.001][0],
                  "mixed_bfloat16": add(250, " --dtype-policy mixed_bfloat16")}
    return costs, rates, sizes, lagging, precisions


def run(options):
    """Run the script with these options; return what it prints of test and validation accuracy."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = model_batchnorm.main(options.split())
    keras.utils.clear_session()
    if status:
        sys.exit(status)
    text = output.getvalue()
    return {"test": float(re.search(r"Test accuracy: ([\d.]+)", text)[1]),
            "validation": [float(value) for value in re.findall(r"val_accuracy: ([\d.e-]+)", text)]}


def run_all(costs, dataset, seeds, file):
    """Return what run() returns for each of the settings, a list with an entry for each seed."""
    results = {}
    if file.exists():
        results = dict(json.loads(line) for line in file.read_text().splitlines())
    runs = {f"--dataset {dataset} --seed {seed} {options}": cost
            for seed in seeds for options, cost in costs.items()}
    todo = {options: cost for options, cost in runs.items() if options not in results}
    print(f"{len(runs)} runs, {len(runs) - len(todo)} of them in {file} already", flush=True)
    start, spent, total = time.monotonic(), 0, sum(todo.values())
    for number, (options, cost) in enumerate(todo.items(), 1):
        results[options] = run(options)
        with file.open("a") as lines:
            lines.write(json.dumps([options, results[options]]) + "\n")
        spent += cost
        left = (time.monotonic() - start) / 60 * (total - spent) / spent
        print(f"{number}/{len(todo)}: {options}: {results[options]['test']:.4f};"
              f" {left:.0f} minutes left", flush=True)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes\n")
    return {options: [results[f"--dataset {dataset} --seed {seed} {options}"] for seed in seeds]
            for options in costs}


def summary(values):
    """Return mean and standard deviation as text."""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def reached(runs):
    """Return the first epochs with 90 % validation accuracy, from the earliest to the latest."""
    epochs = [next((n for n, value in enumerate(run["validation"], 1) if value >= 0.9), None)
              for run in runs]
    if None in epochs:
        return "never" if set(epochs) == {None} else f"not in {epochs.count(None)} of {len(epochs)}"
    return f"{min(epochs)}" if min(epochs) == max(epochs) else f"{min(epochs)} to {max(epochs)}"


def table(head, rows):
    """Print a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(map(str, row))} |")
    print()


def report(results, rates, sizes, lagging, precisions):
    """Print the README's tables."""

    def tests(options):
        return summary([run["test"] for run in results[options]])

    def epochs(options):
        return int(re.search(r"--epochs (\d+)", options)[1])

    table(["learning rate", "test accuracy with Batch Normalization", "without",
           "first epoch with 90 % validation accuracy with", "without"],
          [[rate, *map(tests, pair), *[reached(results[options]) for options in pair]]
           for rate, pair in rates.items()])
    ways = {f"batch size {size}, {name}": options for size in (250, 50) for name, options in
            [*zip(WAYS, sizes[size]), ("with, at `--momentum 0.99`", lagging[size])]}
    shown = [epoch for epoch in (1, 5, 25) if epoch <= epochs(sizes[250][0])]
    table(["", "first epoch with 90 %", *[f"validation after {n}" for n in shown], "test"],
          [[name, reached(results[options]), *[
              summary([run["validation"][epoch - 1] for run in results[options]])
              for epoch in shown], tests(options)] for name, options in ways.items()])
    table(["batch size", "epochs", "test accuracy with Batch Normalization", "without"],
          [[size, epochs(pair[0]), *map(tests, pair)] for size, pair in sizes.items()])
    table(["precision", "test accuracy", "seed by seed"],
          [[name, tests(options), ", ".join(f"{run['test']:.3f}" for run in results[options])]
           for name, options in precisions.items()])


def draw_learning_rates(results, rates, path):
    """Draw test accuracy over the learning rate."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, look) in enumerate(zip(WAYS, ("C0o-", "C1s--"))):
        tests = [[run["test"] for run in results[pair[number]]] for pair in rates.values()]
        axes.errorbar(list(rates), [statistics.mean(test) for test in tests],
                      [statistics.stdev(test) for test in tests], fmt=look, capsize=4, label=name)
    axes.axhline(0.1, color="gray", linestyle=":", label="chance")
    axes.set(xscale="log", xlabel="Learning rate of Adam", ylim=(0, 1),
             ylabel="Test accuracy: mean and\nstandard deviation over the seeds")
    axes.set_xticks(list(rates), [f"{rate:g}" for rate in rates])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="center left")
    figure.savefig(path, dpi=150)


def draw_images(dataset, path):
    """Draw ten images of each class, a row each."""
    (x, y), _ = model_batchnorm.load_data(dataset)
    names = CLASSES.get(dataset, range(10))
    figure = Figure(figsize=(6, 6.8))
    for row, name in enumerate(names):
        for column, image in enumerate(x[y == row][:10]):
            axes = figure.add_axes([0.1 + 0.088 * column, 0.905 - 0.09 * row, 0.084, 0.084])
            axes.imshow(image, cmap="gray_r")
            axes.set_axis_off()
        figure.text(0.08, 0.947 - 0.09 * row, name, ha="right", va="center", fontsize=13)
    if dataset == "kmnist":
        figure.text(0.5, 0.045, ATTRIBUTION, ha="center", va="center", fontsize=7)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    option = parser.add_argument
    option("--dataset", default="kmnist", help="one of the script's with ten classes")
    option("--seeds", type=int, default=5, help="runs of each setting, at least 2")
    option("--epochs", type=int, help="of every run; None: 25, or 6 at batch size 16 and below")
    option("--images", type=Path, default=ROOT / "images", help="folder for the figures")
    option("--results", type=Path, default=ROOT / "results.jsonl", help="file of finished runs")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("argument --seeds: a spread takes at least 2")
    costs, *kinds = settings(args.epochs)
    results = run_all(costs, args.dataset, range(1, args.seeds + 1), args.results)
    report(results, *kinds)
    draw_learning_rates(results, kinds[0], args.images / "learning_rates.png")
    draw_images(args.dataset, args.images / f"{args.dataset}.png")


if __name__ == "__main__":
    main()
