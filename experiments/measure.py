"""Measure what experiments/README.md reports, and write its tables and figures.

    python experiments/measure.py

Every finished run becomes a line of results.jsonl, and a run that has a line there is not made
again: an interrupted call goes on where it stopped, and with all runs made the command only writes
the tables of README.md and the figures. All settings are run with seed 1 first, then with seed 2,
and so on, so that even an early end leaves something to say about every question.

Two processes on a core each make more runs in an hour than one process on two cores:

    taskset -c 0 python experiments/measure.py &
    taskset -c 1 python experiments/measure.py --backwards
"""

import argparse
import json
import math
import os
import platform
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import keras
import networks
import numpy as np
import report
import tensorflow as tf
from keras import layers

import model_batchnorm

PERCENTILE_STEPS = 960  # training steps over which the percentiles are followed: five epochs
STATISTICS_BATCHES = 60  # training batches of 250 over which statistics are recomputed


def all_settings():
    """Return the settings by name: each a dict of what the run is to be and to note.

    network, epochs, and what differs from the default run; seeds: the runs are made with the seeds
    1 to this one; after: test after these epochs, too; statistics: do so with three kinds of
    statistics; percentiles: follow the last layer's input.
    """
    settings = {}

    def add(network, changes="", seeds=3, epochs=5, **options):
        name = ", ".join(filter(None, [network, changes, f"{epochs} epochs"]))
        settings[name] = {"network": network, "seeds": seeds, "epochs": epochs, **options}

    for network in "with", "without":
        follow = {"statistics": network == "with", "percentiles": True}
        add(network, seeds=5, epochs=25, after=[5, 10, 25], **follow)
        for rate in report.LEARNING_RATES[1:]:
            extra = follow if rate == 0.1 else {}
            add(network, f"learning rate {rate}", epochs=10, learning_rate=rate, after=[5, 10],
                **extra)
        add(network, "pooled", data="pooled")
    add("with", "momentum 0.99", momentum=0.99, after=[2, 5], statistics=True)
    add("with", "mixed_bfloat16", epochs=10, dtype_policy="mixed_bfloat16")
    for network in "after ReLU", "before ReLU":
        for rate in 0.001, 0.01:
            add(network, f"learning rate {rate}", learning_rate=rate)
    add("before ReLU, no bias")
    for network in "dropout", "dropout before", "dropout without":
        add(network)
    for frozen in "all", "gamma and beta", "nothing":
        add("with", f"frozen: {frozen}", frozen=frozen, data="first 10,000")
    for batch_size in report.SMALL_BATCHES[::-1]:
        for network in "with", "without":
            add(network, f"batch size {batch_size}", epochs=3, batch_size=batch_size,
                data="first 10,000", statistics=network == "with" and batch_size <= 4, after=[3])
    for batch_size in 4, 2:
        for network in "before ReLU", "renorm", "GroupNormalization", "LayerNormalization":
            if network != "renorm" or hasattr(layers.BatchNormalization(), "renorm"):  # Keras 3.14
                add(network, f"batch size {batch_size}", epochs=3, batch_size=batch_size,
                    data="first 10,000")
    return settings


# --- The runs ------------------------------------------------------------------------------------


def load(dataset):
    """Return what a setting's "data" may name: the data, its first 10,000 images, or it pooled."""
    _, everything = model_batchnorm.load_or_digits(dataset)
    (x_train, y_train), (x_test, y_test) = everything
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    order = np.random.default_rng(0).permutation(len(x))
    train, test = np.split(order, [len(x_train)])
    return {"all": everything,
            "first 10,000": ((x_train[:10_000], y_train[:10_000]), (x_test, y_test)),
            "pooled": ((x[train], y[train]), (x[test], y[test]))}


def run(setting, seed, data):
    """Make one run; return its results, as they stand in a line of results.jsonl."""
    keras.config.set_dtype_policy(setting.get("dtype_policy", "float32"))
    if "frozen" in setting:
        return run_frozen(setting, seed, data)
    after = Snapshots(data, setting.get("after", ()), setting.get("statistics"))
    followed = Percentiles(data) if setting.get("percentiles") and seed <= 3 else None
    model, results = run_to_the_end(
        data, seed=seed, batch_norm=setting["network"] != "without",
        build=networks.BUILD.get(setting["network"], model_batchnorm.build_model), verbose=0,
        callbacks=[callback for callback in (after, followed) if callback],
        **train_options(setting, data))
    results["parameters"] = model.count_params()
    if after.results:
        results["after"] = after.results
    if followed:
        results["percentiles"] = followed.of_a_typical_input()
    return results


def run_to_the_end(*args, **options):
    """Return what the script's run returns, unless Ctrl-C ended its training early."""
    model, results = model_batchnorm.run(*args, **options)
    if results.pop("interrupted"):
        raise KeyboardInterrupt
    return model, results


def train_options(setting, data):
    """Return the options of model_batchnorm.run, chosen as the script chooses them."""
    (x_train, _), _ = data
    num_training = len(x_train) - len(validation(x_train))
    batch_size = model_batchnorm.even_batch_size(num_training, setting.get("batch_size", 250))
    momentum = model_batchnorm.settled_momentum(math.ceil(num_training / batch_size))
    given = {name: setting[name] for name in ("epochs", "learning_rate", "momentum")
             if name in setting}
    return {"batch_size": batch_size, "momentum": momentum, **given}


class Snapshots(keras.callbacks.Callback):
    """Tests the network after some of the epochs."""

    def __init__(self, data, epochs, statistics):
        super().__init__()
        self.data, self.epochs, self.statistics = data, epochs, statistics
        self.results = {}

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 not in self.epochs:
            return
        (x_train, _), (x_test, y_test) = self.data
        loss, accuracy = self.model.evaluate(x_test, y_test, batch_size=250, verbose=0)
        self.results[epoch + 1] = {"test_loss": loss, "test_accuracy": accuracy,
                                   "dead": share_of_dead_units(self.model, validation(x_train))}
        if self.statistics:
            self.results[epoch + 1]["statistics"] = three_statistics(self.model, self.data)


def validation(x_train, validation_split=0.2):
    """Return the images that Keras validates with."""
    return x_train[int(len(x_train) * (1 - validation_split)):]


def share_of_dead_units(model, images):
    """Return the share of the first dense layer's units that are zero for each of the images."""
    dense = next(layer for layer in model.layers if isinstance(layer, layers.Dense))
    outputs = keras.Model(model.inputs[0], dense.output).predict(images, batch_size=250, verbose=0)
    return float((outputs <= 0).all(axis=0).mean())


def three_statistics(model, data):
    """Test the same weights with three kinds of means and variances; return the test accuracies.

    moving: the moving averages, as Keras does. batch: those of each test batch of 250 images.
    recomputed: the plain mean of those of training batches of 250, much as the paper's algorithm 2
    (page 4) and "precise BN" (Wu and Johnson 2021, arXiv:2105.07576) have it. The model stays as
    it was.
    """
    (x_train, _), (x_test, y_test) = data
    rng = np.random.default_rng(0)
    in_training = rng.permutation(len(x_train) - len(validation(x_train)))
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    momenta, weights = [layer.momentum for layer in norms], model.get_weights()

    def test():
        return model.evaluate(x_test, y_test, batch_size=250, verbose=0)[1]

    accuracies = {"moving": test()}
    order = rng.permutation(len(x_test))
    correct = [np.argmax(model(x_test[some], training=True), axis=1) == y_test[some]
               for some in np.split(order, range(250, len(order), 250))]
    accuracies["batch"] = float(np.concatenate(correct).mean())
    for number in range(min(STATISTICS_BATCHES, len(in_training) // 250)):
        for layer in norms:
            layer.momentum = number / (number + 1)  # makes the moving average a plain mean
        model(x_train[in_training[250 * number:][:250]], training=True)
    accuracies["recomputed"] = test()

    model.set_weights(weights)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
    return accuracies


class Percentiles(keras.callbacks.Callback):
    """Follows the 15th, 50th and 85th percentile of each input of the last layer (paper, figure 1).

    Over 1,000 validation images, every ten training steps; normalised, where the network does so,
    with the mean and variance of these images, as in training.
    """

    def __init__(self, data):
        super().__init__()
        self.images = validation(data[0][0])[:1000]
        self.step, self.steps, self.percentiles = 0, [], []

    def on_train_begin(self, logs=None):
        self.inputs = keras.Model(self.model.inputs[0], self.model.layers[-1].input)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step > PERCENTILE_STEPS or self.step % 10 and self.step != 1:
            return
        averages = [(weight, weight.numpy()) for weight in self.model.non_trainable_weights]
        values = np.array(self.inputs(self.images, training=True))
        for weight, value in averages:
            weight.assign(value)  # as if the images had not been seen
        self.steps.append(self.step)
        self.percentiles.append(np.percentile(values, [15, 50, 85], axis=0))

    def of_a_typical_input(self):
        """Return the input whose spread, averaged over the steps, is the median of all inputs'."""
        percentiles = np.array(self.percentiles)  # step, percentile, input
        spread = (percentiles[:, 2] - percentiles[:, 0]).mean(axis=0)
        typical = int(np.argsort(spread)[len(spread) // 2])
        return {"input": typical, "steps": self.steps,
                "values": percentiles[:, :, typical].T.tolist()}


def run_frozen(setting, seed, data):
    """Train on classes 0 to 4, then with a new last layer on 5 to 9; return the test accuracies."""
    first, second = ([(x[chosen], y[chosen] % 5) for x, y in data for chosen in [y // 5 == half]]
                     for half in (0, 1))
    model, results = run_to_the_end(first, seed=seed, verbose=0, **train_options(setting, first))
    *body, last = model.layers
    changed = keras.Sequential([keras.Input(model.input_shape[1:]), *body,
                                layers.Dense(5, activation="softmax")])
    if setting["frozen"] != "nothing":
        for layer in body:
            layer.trainable = False
    if setting["frozen"] == "gamma and beta":
        for layer in body:
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = True  # so it normalises by the batch, and its averages move
                layer.gamma.trainable = layer.beta.trainable = False
    (x_train, y_train), (x_test, y_test) = second
    options = train_options(setting, second)
    momentum = options.pop("momentum")
    for layer in body:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = momentum
    history = model_batchnorm.train(changed, x_train, y_train, verbose=0, **options).history
    new = changed.evaluate(x_test, y_test, batch_size=250, verbose=0)
    old = keras.Sequential([keras.Input(model.input_shape[1:]), *body, last])
    old.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    old = old.evaluate(*first[1], batch_size=250, verbose=0)
    return {"history": history, "test_loss": new[0], "test_accuracy": new[1],
            "old_before": results["test_accuracy"], "old_after": old[1],
            "seconds": results["seconds"]}


def rounded(value):
    """Return a value of JSON with its numbers to five digits, which is more than they mean."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def machine():
    """Return the processor's name and the number of cores that this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{(names or [platform.processor() or platform.machine()])[0]}, cores: {cores}"


def read(file):
    """Return the results by (setting's name, seed)."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return {(line["setting"], line["seed"]): line for line in map(json.loads, lines)}


def made(settings, dataset, results):
    """Return the (setting's name, seed) of the results on this data, with all their epochs."""
    return {(name, seed) for (name, seed), line in results.items()
            if name in settings and line["dataset"] == dataset
            and len(line["history"]["loss"]) == settings[name]["epochs"]}


def make_runs(settings, dataset, backwards, file):
    """Make the runs that the file does not have yet, and add a line to it for each."""
    names = list(settings)[::-1 if backwards else 1]
    runs = [(name, seed) for seed in range(1, 6) for name in names
            if seed <= settings[name]["seeds"]]
    # After two seeds each, the script's own networks come before the others.
    runs.sort(key=lambda run: run[1] > 2 and 1 + (settings[run[0]]["network"] not in report.NAMES))
    finished = made(settings, dataset, read(file))
    todo = [run for run in runs if run not in finished]
    print(f"{len(runs)} runs, {len(todo)} of them to make", flush=True)
    if not todo:
        return
    datasets = load(dataset)
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__,
                "keras": keras.__version__}
    for number, (name, seed) in enumerate(todo, 1):
        if (name, seed) in made(settings, dataset, read(file)):  # by now, from the other process
            continue
        setting = settings[name]
        begin = time.monotonic()
        results = run(setting, seed, datasets[setting.get("data", "all")])
        keras.utils.clear_session()
        line = {"setting": name, "seed": seed, **rounded(results), "dataset": dataset,
                "minutes": rounded((time.monotonic() - begin) / 60), **versions,
                "machine": machine()}
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
        so_far = read(file)
        left = set(todo) - made(settings, dataset, so_far)
        print(f"{number}/{len(todo)}: {name}, seed {seed}: {line['test_accuracy']:.4f};"
              f" {minutes_needed(left, so_far):.0f} minutes left", flush=True)


def minutes_needed(runs, results):
    """Estimate the minutes that runs need by what other seeds, else other settings, have taken."""
    minutes = {name: line["minutes"] for (name, _), line in results.items()}
    average = sum(minutes.values()) / len(minutes)
    return sum(minutes.get(name, average) for name, _ in runs)


def write_report(folder):
    """Write the tables, between the markers of the folder's README.md, and the figures."""
    results = report.Results(read(folder / "results.jsonl").values())
    tables = report.tables(results)
    readme = folder / "README.md"
    if not readme.exists():
        empty = "".join(f"<!-- table: {name} -->\n\n<!-- end -->\n\n" for name in tables)
        readme.write_text(empty, encoding="utf-8")
    for file in [readme, HERE.parent / "README.md"] if folder == HERE else [readme]:
        file.write_text(report.fill(file.read_text("utf-8"), tables), "utf-8", newline="\n")
    report.draw_learning_rates(results, folder / "learning_rates.png")
    report.draw_curves(results, folder / "curves.png")
    report.draw_percentiles(results, folder / "percentiles.png")
    if folder == HERE and not (folder / "kmnist.png").exists():
        report.draw_samples(model_batchnorm.load_data("kmnist"), folder / "kmnist.png")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT",
                        help="only the settings whose names contain one of these (default: all)")
    parser.add_argument("--dataset", default="kmnist", choices=model_batchnorm.LOADERS,
                        help="default: kmnist")
    parser.add_argument("--seeds", type=model_batchnorm.number(int, 1), default=5,
                        help="at most so many of each setting (default: 5)")
    parser.add_argument("--epochs", type=model_batchnorm.number(int, 1), default=25,
                        help="at most so many of each run (default: 25)")
    parser.add_argument("--backwards", action="store_true",
                        help="each seed's last setting first, for a second process beside this one")
    parser.add_argument("--folder", type=Path, default=HERE,
                        help="of results, tables and figures (default: this script's)")
    args = parser.parse_args(argv)
    settings = all_settings()
    for text in args.only:
        if not any(text in name for name in settings):
            parser.error(f"no setting's name contains {text!r}")
    if args.folder.resolve() == HERE and (args.dataset != "kmnist" or args.epochs < 25):
        parser.error("other data or fewer epochs need a --folder of their own")
    settings = {name: setting for name, setting in settings.items()
                if any(text in name for text in args.only)}
    for setting in settings.values():
        setting["seeds"] = min(setting["seeds"], args.seeds)
        setting["epochs"] = min(setting["epochs"], args.epochs)
    args.folder.mkdir(parents=True, exist_ok=True)
    status = 0
    try:
        make_runs(settings, args.dataset, args.backwards, args.folder / "results.jsonl")
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        status = 130
    write_report(args.folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
