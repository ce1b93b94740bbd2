"""Answer the questions of experiments/README.md: make the runs, write tables and figures.

    python experiments/run.py             # all questions
    python experiments/run.py dropout     # one, by its file in questions/

Every finished run is a line of results.jsonl, and is not made again. So an interrupted
command goes on where it stopped.
"""

import argparse
import dataclasses
import importlib
import sys
from pathlib import Path

import runs
from runs import HERE, RESULTS, model_batchnorm

NAMES = sorted(file.stem for file in (HERE / "questions").glob("[!_]*.py"))
END = "<!-- end -->"


class Question:
    """A file of questions/, with other data, fewer epochs or fewer seeds if asked for."""

    def __init__(self, name, dataset=None, epochs=None, seeds=None):
        self.name = name
        self.module = importlib.import_module(f"questions.{name}")
        self.heading = self.module.__doc__.partition("\n")[0]
        self.measurement = getattr(self.module, "MEASUREMENT", None)
        self.seeds = range(1, 1 + min(self.module.SEEDS, seeds or self.module.SEEDS))
        self.runs = {
            label: dataclasses.replace(
                run,
                dataset=dataset or run.dataset,
                epochs=min(run.epochs, epochs or run.epochs),
            )
            for label, run in self.module.RUNS.items()
        }

    def find(self, lines):
        """Return the lines that answer it, {label: {seed: line}}.

        Every label has the same seeds, so that differences can be paired.
        """
        found = {
            label: {
                seed: line
                for seed in self.seeds
                if (line := runs.find(lines, run, seed, self.measurement))
            }
            for label, run in self.runs.items()
        }
        seeds = set.intersection(*map(set, found.values()))
        return {
            label: {seed: line for seed, line in by_seed.items() if seed in seeds}
            for label, by_seed in found.items()
        }

    def report(self, lines):
        """Return its tables in Markdown, or None if no seed has all its runs."""
        found = self.find(lines)
        return self.module.report(found) if all(found.values()) else None


def make_runs(questions, file):
    """Make the runs that are missing in a file of results."""
    # The first seeds come first: an early end leaves an answer, from fewer seeds. The
    # longest runs come first: they answer for the shorter ones.
    wanted = [
        (seed, -run.epochs, number, run, question)
        for question in questions
        for number, run in enumerate(question.runs.values())
        for seed in question.seeds
    ]
    lines = runs.read(file)
    for seed, _, _, run, question in sorted(wanted, key=lambda entry: entry[:3]):
        if runs.find(lines, run, seed, question.measurement):
            continue
        measurements = {
            other.measurement
            for other in questions
            if other.measurement and run in other.runs.values()
        }
        runs.write(file, run, seed, measurements)
        lines = runs.read(file)
        print(f"{question.name}: a run with seed {seed} is made", flush=True)


def write_report(question, lines, folder):
    """Write a question's tables into the folder's README.md, and its figure beside it."""
    readme = folder / "README.md"
    text = readme.read_text("utf-8") if readme.exists() else ""
    report = question.report(lines)
    if report is None:
        print(f"Not all of its runs are made yet: {question.heading}")
        return
    if start(question.name) not in text:
        text += f"\n## {question.heading}\n\n{start(question.name)}\n{END}\n"
    readme.write_text(fill(text, question.name, report), "utf-8", newline="\n")
    if hasattr(question.module, "draw"):
        figure = question.module.draw(question.find(lines))
        figure.savefig(folder / f"{question.name}.png", dpi=110)


def start(name):
    """Return the line after which a question's tables are."""
    return f"<!-- question: {name} -->"


def fill(text, name, markdown):
    """Return the text with this Markdown between a question's markers."""
    before, begin, rest = text.partition(f"{start(name)}\n")
    _, end, after = rest.partition(END)
    return f"{before}{begin}{markdown}\n{end}{after}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "questions",
        nargs="*",
        metavar="QUESTION",
        help=f"default: all of {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--dataset", choices=["kmnist", "digits"], help="train on other data"
    )
    parser.add_argument(
        "--epochs",
        type=model_batchnorm.number(int, 1),
        metavar="N",
        help="train for at most N epochs",
    )
    parser.add_argument(
        "--seeds",
        type=model_batchnorm.number(int, 1),
        metavar="N",
        help="use at most N seeds",
    )
    parser.add_argument(
        "--report-only",
        action="store_true",
        help="make no runs; write the tables and figures of those that are made",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=HERE,
        help="of results, tables and figures (default: that of this script)",
    )
    options = parser.parse_args(argv)
    for name in options.questions:
        if name not in NAMES:
            parser.error(f"there is no question {name!r}, only {', '.join(NAMES)}")
    changed = options.dataset or options.epochs or options.seeds
    if changed and options.folder.resolve() == HERE:
        parser.error("--dataset, --epochs and --seeds need another --folder")
    questions = [
        Question(name, options.dataset, options.epochs, options.seeds)
        for name in options.questions or NAMES
    ]
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / RESULTS
    status = 0
    try:
        if not options.report_only:
            make_runs(questions, file)
    except OSError as error:
        sys.exit(f"{error}\nWithout a network: --dataset digits --folder FOLDER")
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        status = 130
    lines = runs.read(file)
    for question in questions:
        write_report(question, lines, options.folder)
    print(f"Tables and figures are in {options.folder}")
    return status


if __name__ == "__main__":
    sys.exit(main())
