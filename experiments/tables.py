"""Tables of runs, in Markdown: means over the seeds, and differences paired by seed.

found is what find() in run.py returns: a DataFrame of lines of results, with a row for each
seed and a column for each label. A label is the name of a network or, where something else
varies, too, (network, x). Values are a Series: the parts of the label, then the seed, are
the levels of its index, so series[label] has the values of one label, by seed.
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
    return found.unstack().dropna().map(function).astype(float).rename(name)


def after(found, quantity, epoch=None):
    """Return a quantity of QUANTITIES after an epoch of each run, by default the last."""
    lengths = {len(line["history"]["loss"]) for line in found.unstack().dropna()}
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


def by_network(series, function):
    """Return function(values of all seeds): a column for each network, a row for each x.

    The label is (network, x).
    """
    cells = by_label(series, function)
    networks, rows = (cells.index.unique(level) for level in (0, 1))
    return pd.DataFrame({name: cells[name].reindex(rows) for name in networks})


# Tables for all readers: means, medians, differences.


def table(columns, corner="network", reference=None):
    """Return a table with a row for each label: mean ± standard deviation of each column.

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
    return markdown(rows, corner)


def compare(columns, first, second, corner="quantity"):
    """Return a table that compares two labels: a row for each of the columns.

    Each of the columns is a Series; the rows have their names.
    """
    rows = {
        series.name: [
            mean(series[first]),
            mean(series[second]),
            difference(series[first], series[second]),
            positive(series[first], series[second]),
        ]
        for series in columns
    }
    names = [text(first), text(second), "difference", "positive with"]
    return markdown(pd.DataFrame.from_dict(rows, "index", columns=names), corner)


def changes(first, second, name, corner="network"):
    """Return a table of this name: in each label's row, one Series minus another."""
    labels = by_label(first, len).index
    rows = {text(label): difference(first[label], second[label]) for label in labels}
    return markdown(pd.DataFrame({name: rows}), corner)


def pairs(series, corner):
    """Return a table that compares two networks: a row for each x of (network, x)."""
    rows = by_network(series, mean)
    first, second = rows.columns
    rows["difference"] = [
        difference(series[first, x], series[second, x]) for x in rows.index
    ]
    return markdown(rows, f"{corner} ({series.name})")


def medians(series, corner):
    """Return a table with a column for each network and a row for each x of (network, x).

    It has the median of the seeds' accuracies, and how many of them failed.
    """
    cells = by_network(series, median_and_failures)
    return markdown(cells, f"{corner} ({series.name}, median)")


# Tables for those who want to know all.


def grid(series, corner):
    """Return a table with a column for each network and a row for each x of (network, x).

    It has the accuracies of all seeds, and how many of them failed.
    """
    cells = by_network(series, every_and_failures)
    return markdown(cells, f"{corner} ({series.name}, by seed)")


def every_seed(columns, corner="network"):
    """Return a table with a row for each label: the values of all seeds of each column."""
    rows = {series.name: by_label(series, every) for series in columns}
    return markdown(pd.DataFrame(rows), f"{corner} (by seed)")


def differences(series, labels):
    """Return a list of differences of a Series: {name: (first label, second label)}."""
    lines = [f"{series.name[0].upper()}{series.name[1:]}:", ""]
    for name, (first, second) in labels.items():
        pair = series[first], series[second]
        lines.append(f"- {name}: {difference(*pair)}, positive with {positive(*pair)}")
    return "\n".join(lines)


def losses_of_failures(found):
    """Return a list of the labels with failed runs: how many, and their training losses.

    ln 10 = 2.303 is the loss of ten equal probabilities.
    """
    test, loss = (
        values(found, name, lambda line, name=name: line["history"][name][-1])
        for name in ("test_accuracy", "loss")
    )
    failed = loss[test < FAILED]
    lines = [
        "Training loss of the failed runs after the last epoch (ln 10 is 2.303):",
        "",
    ]
    for label, losses in by_label(failed, every).items():
        lines.append(f"- {text(label)}: {losses}")
    return "\n".join(lines)


def at_their_best(validation, test):
    """Return a sentence that compares two networks, each where it validates best.

    The label is (network, x).
    """
    means = validation.groupby(level=[0, 1], sort=False).mean()
    first, second = means.groupby(level=0, sort=False).idxmax()
    return (
        f"{test.name.capitalize()} {first[0]} at {first[1]} minus that {second[0]} at"
        f" {second[1]}, where each validates best: {difference(test[first], test[second])}."
    )


def difference(first, second):
    """Return the mean difference, paired by seed, with its 95 % interval, as text."""
    first, second = first.align(second, join="inner")
    by_seed = first - second
    words = signed(by_seed.mean(skipna=False))
    if by_seed.std() > 0:  # not with one seed
        low, high = stats.ttest_rel(first, second).confidence_interval(0.95)
        words += f" ({interval_end(low)} to {interval_end(high)})"
    return words


def positive(first, second):
    """Return with how many of the seeds the difference is positive, as text."""
    first, second = first.align(second, join="inner")
    return f"{(first > second).sum()} of {plural(len(first), 'seed')}"


def mean(seeds):
    """Return mean ± standard deviation as text; of a seed without a value, "nan"."""
    spread = f" ± {seeds.std(skipna=False):.3f}" if len(seeds) > 1 else ""
    return f"{seeds.mean(skipna=False):.3f}{spread}"


def every(seeds):
    """Return the values, one by one, as text."""
    return ", ".join(f"{value:.3f}" for value in seeds)


def every_and_failures(seeds):
    """Return the values one by one, and how many of them are failures, as text."""
    return every(seeds) + failures(seeds)


def median_and_failures(seeds):
    """Return the median, and how many of the values are failures, as text."""
    return f"{seeds.median():.3f}{failures(seeds)}"


def failures(seeds):
    """Return how many of the accuracies are failures, as text; nothing if none is."""
    failed = (seeds < FAILED).sum()
    return f" ({failed} of {len(seeds)} failed)" if failed else ""


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
