"""Tables of runs, in Markdown: means over the seeds, and differences paired by seed.

found is what find() in run.py returns: a DataFrame of lines of results, with a row for each
seed and a column for each label. Values are a Series: the parts of the label, then the
seed, are the levels of its index, so series[label] has the values of one label, by seed.
"""

import warnings

import pandas as pd
from scipy import stats

# The tables are small, and their rows keep the order of the labels.
warnings.simplefilter("ignore", pd.errors.PerformanceWarning)

QUANTITIES = {
    "accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "val_loss": "validation loss",
    "test_loss": "test loss",
}
FAILED = 0.2  # an accuracy below it is little more than chance, which is 0.1


def values(found, name, function):
    """Return function(line) for every run, as a Series of this name."""
    return found.map(function).astype(float).unstack().rename(name)


def after(found, quantity, epoch=None):
    """Return a quantity of QUANTITIES after an epoch of each run, by default the last."""
    lengths = found.map(lambda line: len(line["history"]["loss"])).unstack().unique()
    if epoch is None:
        if len(lengths) > 1:
            raise ValueError(f"the runs have {sorted(lengths)} epochs: name one")
        (epoch,) = lengths
    name = f"{QUANTITIES[quantity]} after {plural(epoch, 'epoch')}"
    return values(found, name, lambda line: line["history"][quantity][epoch - 1])


def validation_and_test(found):
    """Return validation and test accuracy after the last epoch."""
    return [after(found, name) for name in ("val_accuracy", "test_accuracy")]


def by_label(series, function):
    """Return function(values of all seeds) for every label, in the labels' order."""
    labels = list(range(series.index.nlevels - 1))
    return series.groupby(level=labels, sort=False).agg(function)


def table(columns, corner="network", reference=None):
    """Return a Markdown table: mean ± standard deviation over the seeds.

    Each of the columns is a Series. With a reference, a label, another column has the
    differences: the last of the columns in each row, minus that in the reference's row.
    """
    rows = pd.DataFrame({series.name: by_label(series, mean) for series in columns})
    last = columns[-1]
    if reference is not None:
        quantity = last.name.partition(" after ")[0]
        rows[f"{quantity} minus that of “{text(reference)}”"] = [
            difference(last[label], last[reference]) if label != reference else ""
            for label in rows.index
        ]
    rows["seeds"] = by_label(last, len).astype(int)
    return markdown(rows, corner)


def every_seed(columns, corner):
    """Return a Markdown table with the values of all seeds in each cell."""
    rows = {series.name: by_label(series, every) for series in columns}
    return markdown(pd.DataFrame(rows), corner)


def grid(series, corner):
    """Return a Markdown table with the accuracies of all seeds, and how many failed.

    The first part of the label gives the column, the other parts give the row.
    """
    cells = by_label(series, every_and_failures).unstack(0, sort=False)
    return markdown(cells, f"{corner} ({series.name}, by seed)")


def pairs(columns, corner):
    """Return a Markdown table that compares two networks in every row.

    The first part of the label is the network, the second part gives the row.
    """
    means = [by_label(series, mean).unstack(0, sort=False) for series in columns]
    rows = pd.concat(
        [cells.add_prefix(f"{of.name}, ") for of, cells in zip(columns, means)], axis=1
    )
    last = columns[-1]
    first, second = last.index.unique(0)
    rows["difference of the last two"] = [
        difference(last[first, row], last[second, row]) for row in rows.index
    ]
    rows["seeds"] = by_label(last[first], len).astype(int)
    return markdown(rows, corner)


def differences(named):
    """Return a Markdown list of differences, each with its name: {name: (first, second)}."""
    return "\n".join(f"- {name}: {difference(*pair)}" for name, pair in named.items())


def at_their_best(validation, test):
    """Return a sentence that compares two networks, each where it validates best.

    The label is (network, row).
    """
    means = validation.groupby(level=[0, 1], sort=False).mean()
    first, second = means.groupby(level=0, sort=False).idxmax()
    return (
        f"{test.name.capitalize()} {first[0]} at {first[1]} minus that {second[0]} at"
        f" {second[1]}, where each validates best: {difference(test[first], test[second])}."
    )


def difference(first, second):
    """Return the mean difference, paired by seed, with its 95 % interval, as text."""
    by_seed = first - second
    words = signed(by_seed.mean(skipna=False))
    if by_seed.std() > 0:  # not with one seed
        low, high = stats.ttest_rel(first, second).confidence_interval(0.95)
        words += f" ({interval_end(low)} to {interval_end(high)})"
    positive = (by_seed > 0).sum()
    return f"{words}, positive with {positive} of {plural(len(by_seed), 'seed')}"


def mean(seeds):
    """Return mean ± standard deviation as text; of a seed without a value, "nan"."""
    spread = f" ± {seeds.std(skipna=False):.3f}" if len(seeds) > 1 else ""
    return f"{seeds.mean(skipna=False):.3f}{spread}"


def every(seeds):
    """Return the values, one by one, as text."""
    return ", ".join(f"{value:.3f}" for value in seeds)


def every_and_failures(seeds):
    """Return the values one by one, and how many of them are failures, as text."""
    failed = (seeds < FAILED).sum()
    return every(seeds) + (f" ({failed} of {len(seeds)} failed)" if failed else "")


def signed(number, digits=3):
    """Return a number with its sign as text; one that is rounded to 0 has none."""
    words = f"{number:+.{digits}f}"
    return "0.000" if float(words) == 0 else words


def interval_end(number):
    """Return an interval's end as text. It shows on which side of 0 it is."""
    words = signed(number)
    return signed(number, digits=4) if words == "0.000" else words


def plural(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def text(label):
    """Return a label as text."""
    return ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)


def markdown(frame, corner):
    """Return a DataFrame with its index as a Markdown table."""
    lines = [[corner, *frame.columns], ["---"] * (1 + frame.shape[1])]
    lines += [[text(label), *row] for label, row in zip(frame.index, frame.to_numpy())]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
