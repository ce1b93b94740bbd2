"""Tables of runs: means and spreads over the seeds, and differences with their intervals."""

import dataclasses

import pandas as pd
from scipy import stats

QUANTITIES = {
    "val_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "val_loss": "validation loss",
    "test_loss": "test loss",
}


@dataclasses.dataclass(frozen=True)
class After:
    """A quantity of QUANTITIES after an epoch of a run, by default the last."""

    quantity: str
    epoch: int | None = None

    def __post_init__(self):
        QUANTITIES[self.quantity]  # a misspelt one is an error
        if self.epoch is not None and self.epoch < 1:
            raise ValueError(f"the first epoch is 1, not {self.epoch}")

    def heading(self, lines):
        """Return what it is in these lines; ValueError where their epochs differ."""
        epochs = sorted({self.in_line(line) for line in lines})
        if len(epochs) > 1:
            raise ValueError(
                f"runs of {epochs} epochs stand under one heading: name an epoch, as in"
                f" After({self.quantity!r}, {epochs[0]})"
            )
        return f"{QUANTITIES[self.quantity]} after {plural(epochs[0], 'epoch')}"

    def in_line(self, line):
        """Return the epoch in a line, which may have fewer."""
        epochs = len(line["history"]["loss"])
        return min(self.epoch or epochs, epochs)

    def __call__(self, line):
        return line["history"][self.quantity][self.in_line(line) - 1]


VALIDATION = After("val_accuracy")
TEST = After("test_accuracy")


def plural(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def frame(found, columns):
    """Return a DataFrame with a row for each run, by (label, seed), and these columns.

    found: {label: {seed: line}}, as run.py's find() returns it. columns: functions of a
    line by heading.
    """
    rows = {
        (label, seed): [column(line) for column in columns.values()]
        for label, lines in found.items()
        for seed, line in sorted(lines.items())
    }
    index = pd.MultiIndex.from_tuples(rows, names=["network", "seed"])
    return pd.DataFrame(list(rows.values()), index, list(columns), dtype=float)


def chosen(found, columns=(VALIDATION, TEST)):
    """Return frame(), the columns headed by what they are in runs of so many epochs."""
    lines = [line for seeds in found.values() for line in seeds.values()]
    return frame(found, {column.heading(lines): column for column in columns})


def table(values, reference=None):
    """Return a Markdown table: for each label mean ± standard deviation over the seeds.

    With a reference, a label, another column has the last one's difference to that
    label's.
    """
    labels = list(dict.fromkeys(values.index.get_level_values(0)))
    rows = pd.DataFrame(index=pd.Index(labels, name=values.index.names[0]))
    for column in values:
        rows[column] = [mean_and_spread(values.loc[label, column]) for label in labels]
    if reference is not None:
        last = values.iloc[:, -1]
        rows[f"its difference to “{reference}”"] = [
            "" if label == reference else difference(last[label], last[reference])
            for label in labels
        ]
    rows["seeds"] = [
        int(values.loc[label].notna().all(axis=1).sum()) for label in labels
    ]
    return markdown(rows)


def by_seed(values, corner):
    """Return a Markdown table with every seed's value of each column."""
    labels = list(dict.fromkeys(values.index.get_level_values(0)))
    made = pd.DataFrame(index=pd.Index(labels, name=corner))
    for column in values:
        made[column] = [every(values.loc[label, column]) for label in labels]
    return markdown(made)


def mean_and_spread(values):
    """Return mean ± standard deviation as text; with a value missing, say so."""
    if values.isna().any():
        return missing(values)
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values)
    return f"{values.mean():.3f} ± {values.std():.3f}"


def missing(values):
    """Return how many of the values are missing, as text."""
    return f"{values.isna().sum()} of {len(values)} without a value"


def difference(values, reference):
    """Return the mean difference, paired by seed, with its 95 % interval, as text."""
    differences = values - reference
    if differences.isna().any():
        return missing(differences)
    text = signed(differences.mean())
    if len(differences) > 1:
        low, high = interval(differences)
        text += f" ({end(low)} to {end(high)})"
    return (
        f"{text}, above with {(differences > 0).sum()} of {plural(len(values), 'seed')}"
    )


def signed(number, digits=3):
    """Return a number with its sign as text; one that is rounded to 0 has none."""
    text = f"{number:+.{digits}f}"
    return "0.000" if float(text) == 0 else text


def end(number):
    """Return an interval's end as text: on which side of 0 it is must be seen."""
    text = signed(number)
    return signed(number, digits=4) if text == "0.000" else text


def differences(values, label, reference):
    """Return a Markdown list of every column's difference between two labels."""
    return "\n".join(
        f"- {column}: {difference(values.loc[label, column], values.loc[reference, column])}"
        for column in values
    )


def compared(values, pairs):
    """Return a Markdown list of differences between the two labels of each pair.

    values: a column of frame(). pairs: {what the difference is: (label, reference)}.
    """
    return "\n".join(
        f"- {name}: {difference(values[label], values[reference])}"
        for name, (label, reference) in pairs.items()
    )


def by_label(first, second):
    """Return a Markdown list of every label's difference between two columns of frame()."""
    labels = dict.fromkeys(first.index.get_level_values(0))
    return "\n".join(
        f"- {label}: {difference(first[label], second[label])}" for label in labels
    )


def interval(differences):
    """Return the ends of the mean's 95 % interval, by Student's t."""
    mean, error = differences.mean(), stats.sem(differences)
    half = error * stats.t.ppf(0.975, len(differences) - 1)
    return mean - half, mean + half


def every(values):
    """Return the values, one by one, as text."""
    return ", ".join("-" if pd.isna(value) else f"{value:.3f}" for value in values)


def markdown(frame):
    """Return a DataFrame with its index as a Markdown table."""
    lines = [[frame.index.name or "", *frame.columns]]
    lines.append(["---"] * len(lines[0]))
    lines += [[label, *row] for label, row in zip(frame.index, frame.to_numpy())]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def pairs(found, rows, names, corner, columns=(VALIDATION, TEST)):
    """Return a Markdown table that compares two networks in each of the rows.

    found has the labels f"{name}, {row}" for both names; corner is the heading of the rows.
    """
    values = chosen(found, columns)
    made = pd.DataFrame(index=pd.Index(rows, name=corner))
    for column in values:
        for name in names:
            made[f"{column}, {name}"] = [
                mean_and_spread(values.loc[f"{name}, {row}", column]) for row in rows
            ]
    first, second = (
        [values.loc[f"{name}, {row}", column] for row in rows] for name in names
    )
    made["difference of the last two"] = list(map(difference, first, second))
    made["seeds"] = list(map(len, first))
    return markdown(made)


FAILED = 0.2  # an accuracy below it: little more than chance, which is 0.1


def grid(found, rows, columns, corner, column=TEST):
    """Return a Markdown table with every seed's value, and how many failed.

    found has a label f"{name}, {row}" for each name in columns; corner is the heading of
    the rows.
    """
    if "accuracy" not in column.quantity:  # FAILED would mark the best of losses
        raise ValueError(f"{column.quantity} is no accuracy")
    seeds = chosen(found, [column]).iloc[:, 0]
    made = pd.DataFrame(index=pd.Index(rows, name=f"{corner} ({seeds.name}, by seed)"))
    for name in columns:
        made[name] = [seeds_and_failures(seeds.loc[f"{name}, {row}"]) for row in rows]
    return markdown(made)


def grids(found, rows, columns, corner, quantities=(VALIDATION, TEST)):
    """Return a grid() for each of the quantities."""
    return "\n\n".join(
        grid(found, rows, columns, corner, quantity) for quantity in quantities
    )


def at_their_best(found, rows, names, epoch=None):
    """Compare two networks, each in the row where it validates best, in a sentence.

    After this epoch, by default the last.
    """
    values = chosen(
        found, [After("val_accuracy", epoch), After("test_accuracy", epoch)]
    )
    validation, test = (values[heading] for heading in values)
    best = [
        max(rows, key=lambda row: validation.loc[f"{name}, {row}"].mean())
        for name in names
    ]
    first, second = (test.loc[f"{name}, {row}"] for name, row in zip(names, best))
    return (
        f"{test.name.capitalize()} {names[0]} at {best[0]} minus that {names[1]} at"
        f" {best[1]}, where each validates best: {difference(first, second)}."
    )


def seeds_and_failures(values):
    """Return the values one by one, and how many of them are failures, as text."""
    failed = int((values < FAILED).sum())
    return every(values) + (f" ({failed} of {len(values)} failed)" if failed else "")


def listed(columns, rows, corner):
    """Return a Markdown table of columns, each a list with the seeds of every row."""
    cells = {
        name: [every(seeds) for seeds in column] for name, column in columns.items()
    }
    return markdown(pd.DataFrame(cells, pd.Index(rows, name=corner)))
