"""Answer the questions of experiments/README.md: make the runs, write tables and figures.

    python experiments/run.py             # all questions
    python experiments/run.py dropout     # one, by its file in questions/

Every finished run becomes a line of results.jsonl, and a run that has a line there is not
made again, so an interrupted call goes on where it stopped. Two processes on a core each
make more runs in an hour than one on two cores:

    taskset -c 0 python experiments/run.py &
    taskset -c 1 python experiments/run.py --backwards
"""

import argparse
import dataclasses
import importlib
import statistics
import sys
from pathlib import Path

import runs
import tables
from runs import keras, model_batchnorm  # the latter stands in the folder above

HERE = Path(__file__).resolve().parent
NAMES = sorted(file.stem for file in (HERE / "questions").glob("[!_]*.py"))


class Question:
    """A file of questions/, with runs that differ from its own where the options say so."""

    def __init__(self, name, dataset=None, epochs=None, seeds=None):
        module = importlib.import_module(f"questions.{name}")
        self.name, self.module = name, module
        self.heading = module.__doc__.partition("\n")[0]
        self.seeds = range(1, 1 + min(module.SEEDS, seeds or module.SEEDS))
        self.runs = {
            label: dataclasses.replace(
                run,
                dataset=dataset or run.dataset,
                epochs=min(run.epochs, epochs or run.epochs),
            )
            for label, run in module.RUNS.items()
        }
        measurement = getattr(module, "MEASUREMENT", None)
        self.measurements = {measurement.key(): measurement} if measurement else {}

    def find(self, lines):
        """Return those of the lines that answer it: {label: {seed: line}}.

        Every label has the same seeds, so that what is compared is paired.
        """
        found = {
            label: {
                seed: lines[key]
                for seed in self.seeds
                for key in [(runs.settings(run), seed)]
                if key in lines
                and self.measurements.keys() <= lines[key]["measured"].keys()
            }
            for label, run in self.runs.items()
        }
        seeds = set.intersection(*map(set, found.values()))
        return {
            label: {seed: line for seed, line in by_seed.items() if seed in seeds}
            for label, by_seed in found.items()
        }

    def report(self, lines):
        """Return its Markdown, tables and lists; UNMADE while no seed has all its runs."""
        found = self.find(lines)
        return self.module.report(found) if all(found.values()) else UNMADE


def left_to_make(asked, questions, lines):
    """Return [(run, seed, measurements)] of what is not made, or not measured in.

    asked are the questions whose runs are to be made. What any of the questions measures
    in a run is measured, as a run has one line for all.
    """
    entries = {
        (runs.settings(run), seed): (run, seed, {})
        for question in asked
        for run in question.runs.values()
        for seed in question.seeds
    }
    for question in questions:
        for settings in map(runs.settings, question.runs.values()):
            for seed in question.seeds:
                if (settings, seed) in entries:
                    entries[settings, seed][2].update(question.measurements)
    return [
        entry
        for key, entry in entries.items()
        if key not in lines or not entry[2].keys() <= lines[key]["measured"].keys()
    ]


def minutes(left, lines):
    """Estimate a core's minutes for runs: as with other seeds, else by their images."""
    taken, rates = {}, []
    for line in lines.values():
        taken[runs.settings(line["run"])] = line["minutes"]
        rates.append(line["minutes"] / images_seen(**line["run"]))
    usual = statistics.median(rates or [1.5e-5])  # that is of a core of 2021
    return sum(
        taken.get(runs.settings(run), usual * images_seen(**dataclasses.asdict(run)))
        for run, _, _ in left
    )


def check_keras(asked):
    """End the program where a question needs a later Keras than there is."""
    version = tuple(map(int, keras.__version__.split(".")[:2]))
    for question in asked:
        needed = getattr(question.module, "KERAS", version)
        if version < needed:
            sys.exit(
                f"The question {question.name} needs Keras {needed[0]}.{needed[1]}, and"
                f" here is {keras.__version__}: name the other questions without it."
            )


def images_seen(dataset, train_images, epochs, **_):
    """Return how many images a run trains on, each as often as it is seen."""
    return (train_images or (1_437 if dataset == "digits" else 60_000)) * epochs


def make_runs(asked, questions, results, backwards):
    """Make the runs of the questions asked that the results lack."""
    left = left_to_make(asked, questions, results.lines())
    # The first seeds come first, so that even an early end leaves something to say; a
    # second process comes from the other end, so that the two meet only once.
    left.sort(key=lambda entry: entry[1])
    if backwards:
        left.reverse()
    estimate = f"about {minutes(left, results.lines()):.0f} minutes of a core"
    print(f"{tables.plural(len(left), 'run')} to make, {estimate}", flush=True)
    try:
        for dataset in {run.dataset for run, _, _ in left}:
            runs.load_data(dataset)
    except OSError as error:
        sys.exit(f"{error}\nWithout a network: --dataset digits --folder FOLDER")
    for number, entry in enumerate(left, 1):
        # Another process may have made it by now.
        if entry in left_to_make(asked, questions, results.lines()):
            results.make(*entry)
            print(f"{number} of {len(left)} is made", flush=True)


def write_reports(asked, questions, results, folder, note=""):
    """Write the tables of the questions asked into the folder's README.md, and figures.

    And those of the others that stand there already: they may share runs.
    """
    lines = results.lines()
    readme = folder / "README.md"
    text = readme.read_text("utf-8") if readme.exists() else ""
    for question in questions.values():
        if question not in asked and start(question.name) not in text:
            continue
        markdown = note + question.report(lines)
        if question not in asked and UNMADE in markdown:
            print(f"Left as it is, for lack of its runs: {question.heading}")
            continue
        if start(question.name) not in text:
            text += f"\n## {question.heading}\n\n{start(question.name)}\n{END}\n"
        text = fill(text, question.name, markdown)
        if hasattr(question.module, "draw") and UNMADE not in markdown:
            figure = question.module.draw(question.find(lines))
            figure.savefig(folder / f"{question.name}.png", dpi=110)
    readme.write_text(text, "utf-8", newline="\n")
    print(f"Tables and figures are in {readme}")


UNMADE = "*Its runs are not made yet.*"
TRY = (
    "*A try with other data, epochs or seeds: those that labels and figures name are the"
    " question's own.*\n\n"
)
END = "<!-- end -->"


def start(name):
    """Return the line after which a question's tables stand."""
    return f"<!-- question: {name} -->"


def fill(text, name, markdown):
    """Return the text with a question's Markdown between its markers."""
    begin = f"{start(name)}\n"
    before, _, after = text.partition(begin)
    old, end, after = after.partition(END)
    if not end or "<!-- question" in old:
        sys.exit(f"README.md lacks {END} after {start(name)}")
    return f"{before}{begin}{markdown}\n{END}{after}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "questions",
        nargs="*",
        metavar="QUESTION",
        help=f"default: all of {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--dataset",
        choices=model_batchnorm.LOADERS,
        help="what to train on (default: as the questions have it)",
    )
    parser.add_argument(
        "--epochs",
        type=model_batchnorm.number(int, 1),
        metavar="N",
        help="at most so many of each run (default: as the questions have it)",
    )
    parser.add_argument(
        "--seeds",
        type=model_batchnorm.number(int, 1),
        metavar="N",
        help="at most so many of each run (default: as the questions have it)",
    )
    parser.add_argument(
        "--backwards",
        action="store_true",
        help="the last run first, for a second process beside this one",
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
        help="of results, tables and figures (default: this script's)",
    )
    options = parser.parse_args(argv)
    for name in options.questions:
        if name not in NAMES:
            parser.error(f"there is no question {name!r}, only {', '.join(NAMES)}")
    changed = options.dataset or options.epochs or options.seeds
    if changed and options.folder.resolve() == HERE:
        parser.error("other data, epochs or seeds need a --folder of their own")
    questions = {
        name: Question(name, options.dataset, options.epochs, options.seeds)
        for name in NAMES
    }
    asked = [questions[name] for name in options.questions or NAMES]
    options.folder.mkdir(parents=True, exist_ok=True)
    results = runs.Results(options.folder / "results.jsonl")
    status = 0
    try:
        if not options.report_only:
            check_keras(asked)
            make_runs(asked, questions.values(), results, options.backwards)
    except OSError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        status = 130
    write_reports(asked, questions, results, options.folder, TRY if changed else "")
    return status


if __name__ == "__main__":
    sys.exit(main())
