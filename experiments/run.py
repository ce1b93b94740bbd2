"""Answer the questions of experiments/README.md: make the runs, write tables and figures.

    python experiments/run.py                # all questions
    python experiments/run.py dropout        # one, by its file in questions/
    python experiments/run.py dropout --try  # a short trial on handwritten digits

Every finished run is a line of results.jsonl. It is made again only if another question
needs more epochs of it, or a measurement in it. So an interrupted command goes on where it
stopped.
"""

import argparse
import dataclasses
import importlib
import sys
import tempfile
from pathlib import Path

import pandas as pd
import requests

import figures
import runs
from runs import HERE, RESULTS

NAMES = sorted(file.stem for file in (HERE / "questions").glob("[!_]*.py"))
END = "<!-- end -->"


class Question:
    """A file of questions/, or a small version of it to try."""

    def __init__(self, name, small=False):
        self.name = name
        self.module = importlib.import_module(f"questions.{name}")
        self.heading = self.module.__doc__.partition("\n")[0]
        self.measurement = getattr(self.module, "MEASUREMENT", None)
        self.runs = self.module.RUNS
        counts = self.module.SEEDS  # of all labels, or one for each
        if not isinstance(counts, dict):
            counts = dict.fromkeys(self.runs, counts)
        if small:
            counts = dict.fromkeys(self.runs, 2)
            self.runs = {
                label: dataclasses.replace(
                    run, dataset="digits", train_images=500, batch_size=20
                )
                for label, run in self.runs.items()
            }
        self.seeds = {label: range(1, 1 + count) for label, count in counts.items()}

    def find(self, lines):
        """Return the lines that answer it: a DataFrame with a row per seed, a column per label.

        A seed of which a run is missing is left out, because differences are paired by seed.
        """
        found = {
            label: {
                seed: runs.find(lines, run, seed, self.measurement)
                for seed in self.seeds[label]
            }
            for label, run in self.runs.items()
        }
        missing = {
            seed
            for by_seed in found.values()
            for seed, line in by_seed.items()
            if line is None
        }
        return pd.DataFrame(found).drop(index=missing)

    def report(self, found):
        """Return its tables in Markdown, or None if no seed has all its runs.

        What the module's details() yields is folded away.
        """
        if found.empty:
            return None
        parts = [*self.module.report(found)]
        if hasattr(self.module, "details"):
            summary = "<details><summary>All seeds and differences</summary>"
            parts += [summary, *self.module.details(found), "</details>"]
        return "\n\n".join(parts)


def answer(questions, folder):
    """Make the runs that are missing, then write the tables and figures into a folder."""
    try:
        make_runs(questions, folder / RESULTS)
    finally:  # of what is made, also after Ctrl-C
        lines = runs.read(folder / RESULTS)
        for question in questions:
            write_report(question, lines, folder)


def make_runs(questions, file):
    """Make the runs that are missing in a file of results."""
    wanted = [
        (seed, run, question)
        for question in questions
        for label, run in question.runs.items()
        for seed in question.seeds[label]
    ]
    # The first seeds come first: an early end leaves an answer, from fewer seeds. Then
    # those that measure something and the longest: they answer for the others, too.
    wanted.sort(
        key=lambda entry: (entry[0], not entry[2].measurement, -entry[1].epochs)
    )
    lines = runs.read(file)
    for seed, run, question in wanted:
        if runs.find(lines, run, seed, question.measurement):
            continue
        runs.add(file, run, seed, question.measurement)
        lines = runs.read(file)
        print(f"{question.name}: finished a run with seed {seed}", flush=True)


def write_report(question, lines, folder):
    """Write a question's tables into the folder's README.md, and its figure beside it."""
    found = question.find(lines)
    report = question.report(found)
    if report is None:
        print(f"Some of its runs are missing: {question.heading}")
        return
    readme = folder / "README.md"
    text = readme.read_text("utf-8") if readme.exists() else ""
    if start(question.name) not in text:
        text += f"\n## {question.heading}\n\n{start(question.name)}\n{END}\n"
    readme.write_text(fill(text, question.name, report), "utf-8", newline="\n")
    if hasattr(question.module, "draw"):
        figure = question.module.draw(found)
        figure.savefig(folder / f"{question.name}.png", dpi=figures.DPI)


def start(name):
    """Return the line after which a question's tables are."""
    return f"<!-- question: {name} -->"


def fill(text, name, markdown):
    """Return the text with this Markdown between a question's markers."""
    before, begin, rest = text.partition(f"{start(name)}\n")
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"there is no {END!r} after {start(name)!r}")
    return f"{before}{begin}{markdown}\n{end}{after}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "questions",
        nargs="*",
        metavar="QUESTION",
        help=f"default: all of {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--try",
        dest="small",
        action="store_true",
        help="train on 500 handwritten digits, in batches of 20, with two seeds;"
        " print the tables, and write the figures into a temporary folder",
    )
    options = parser.parse_args()
    for name in options.questions:
        if name not in NAMES:
            parser.error(f"there is no question {name!r}, only {', '.join(NAMES)}")
    questions = [Question(name, options.small) for name in options.questions or NAMES]
    folder = Path(tempfile.mkdtemp()) if options.small else HERE
    try:
        answer(questions, folder)
    except requests.RequestException as error:  # KMNIST cannot be downloaded
        sys.exit(f"{error}\n--try needs no download.")
    except KeyboardInterrupt:
        later = "" if options.small else " The same command goes on from here."
        print(f"Stopped.{later}", file=sys.stderr)
        sys.exit(130)
    if options.small:
        print((folder / "README.md").read_text("utf-8"))
    print(f"Tables and figures are in {folder}")


if __name__ == "__main__":
    main()
