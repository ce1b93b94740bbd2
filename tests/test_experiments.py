"""The experiments: what is measured is what is said, and every run is made once."""

import copy
import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from scipy import stats

import model_batchnorm
import run
import runs
import speed
import tables
from conftest import ROOT
from questions import averages, dead_units, fine_tuning, inside, training_mode

TINY = runs.Run(runs.script_layers(norm=None), dataset="digits", epochs=1)


def lines_of(made, seed=1, **history):
    """Return lines as Results.lines() does, with one line of a run."""
    line = {"run": dataclasses.asdict(made), "seed": seed, "measured": {}}
    line["history"] = {"loss": [1.0] * made.epochs} | history
    return {(runs.settings(made), seed): line}


def found(**accuracies):
    """Return what find() does: a label for each keyword, and its test accuracies by seed."""
    return {
        label: {
            seed: {"history": {"loss": [1.0], "test_accuracy": [accuracy]}}
            for seed, accuracy in seeds.items()
        }
        for label, seeds in accuracies.items()
    }


@pytest.fixture
def question():
    """One that has a single run, on digits."""
    question = run.Question("momentum", dataset="digits", epochs=1, seeds=1)
    question.runs = {"a label": TINY}
    return question


@pytest.fixture(scope="module")
def committed():
    return runs.Results(ROOT / "experiments" / "results.jsonl").lines()


def test_a_run_with_a_line_is_not_left_to_make(question):
    assert run.left_to_make([question], [question], lines_of(TINY)) == []


def test_a_line_from_before_a_setting_existed_stands_for_its_default(question):
    (line,) = lines_of(TINY).values()
    del line["run"]["largest_pixel"]
    lines = {(runs.settings(line["run"]), 1): line}
    assert run.left_to_make([question], [question], lines) == []


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.002},
        {"network": runs.script_layers(runs.layer("BatchNormalization"))},
        {"dataset": "kmnist"},
        {"epochs": 2},
        {"largest_pixel": 255},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_run_with_another_setting_is_left_to_make(question, change):
    lines = lines_of(dataclasses.replace(TINY, **change))
    assert run.left_to_make([question], [question], lines) == [(TINY, 1, {})]


def test_a_run_that_lacks_a_measurement_is_left_to_make(question):
    question.measurements = {"Nothing": runs.Measurement}
    assert len(run.left_to_make([question], [question], lines_of(TINY))) == 1


def test_a_line_without_a_questions_measurement_does_not_answer_it(question):
    question.measurements = {"Nothing": runs.Measurement}
    assert question.find(lines_of(TINY)) == {"a label": {}}


def test_what_another_question_measures_in_a_run_is_measured_too(question):
    other = copy.copy(question)
    other.measurements = {"Nothing": runs.Measurement}
    left = run.left_to_make([question], [question, other], {})
    assert left == [(TINY, 1, {"Nothing": runs.Measurement})]


def test_each_measurement_is_a_questions():
    kinds = {
        getattr(run.Question(name).module, "MEASUREMENT", None) for name in run.NAMES
    }
    written = runs.Measurement.__subclasses__()
    assert {kind for kind in written if kind.__module__ != __name__} <= kinds


def test_a_whole_number_is_the_same_setting_as_the_float():
    assert runs.settings(runs.Run(largest_pixel=255)) == runs.settings(
        runs.Run(largest_pixel=255.0)
    )


def test_what_was_made_from_both_ends_is_reported_once_a_seed_has_all_its_runs():
    question = run.Question("bias", dataset="digits", epochs=1)
    first, second = question.runs.values()
    accuracies = {"val_accuracy": [0.5], "test_accuracy": [0.5]}
    lines = lines_of(first, seed=1, **accuracies)
    lines |= lines_of(second, seed=3, **accuracies)
    assert question.report(lines) == run.UNMADE
    lines |= lines_of(first, seed=3, **accuracies)
    assert question.report(lines).count("| 1 |") == 2


def test_a_question_that_needs_a_later_keras_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(runs.keras, "__version__", "3.12.4")
    with pytest.raises(SystemExit, match="needs Keras 3.14, and here is 3.12.4"):
        run.main(["instead", "--folder", str(tmp_path)])


def test_a_users_keras_settings_do_not_reach_the_runs(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float16"}', "utf-8")
    code = "import run, runs; print(runs.build(runs.Run()).inputs[0].dtype)"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "experiments",
        env=os.environ | {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"},
        text=True,
        stdout=subprocess.PIPE,
    ).stdout
    assert printed == "float32\n"


def test_a_question_may_have_a_data_set_of_its_own(monkeypatch):
    monkeypatch.setattr(importlib.import_module("questions.bias"), "RUNS", {"a": TINY})
    assert run.Question("bias").runs["a"].dataset == "digits"


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("name", run.NAMES)
def test_the_report_of_its_first_seeds_says_how_many_they_are(name, seeds, committed):
    first = {key: line for key, line in committed.items() if key[1] <= seeds}
    report = run.Question(name).report(first)
    assert report != run.UNMADE
    assert set(re.findall(r"\| (\d+) \|$", report, re.MULTILINE)) <= {str(seeds)}


@pytest.mark.parametrize("name", run.NAMES)
def test_a_try_of_one_epoch_is_reported(name, committed):
    asked, tried = run.Question(name), run.Question(name, epochs=1, seeds=1)
    lines = {}
    for label, made in tried.runs.items():
        line = committed[runs.settings(asked.runs[label]), 1]
        history = {
            quantity: line["history"][quantity][-1:] for quantity in line["history"]
        }
        lines[runs.settings(made), 1] = line | {"history": history}
    assert tried.report(lines) != run.UNMADE


@pytest.mark.parametrize("name", run.NAMES)
def test_a_figure_that_the_readme_shows_is_drawn(name, committed, tmp_path):
    shown = f"({name}.png)" in (ROOT / "experiments" / "README.md").read_text("utf-8")
    question = run.Question(name)
    assert shown == hasattr(question.module, "draw")
    if shown:
        question.module.draw(question.find(committed)).savefig(tmp_path / "figure.png")


def test_a_misspelt_layer_is_an_error():
    with pytest.raises(AttributeError):
        runs.layer("BatchNormalisation")


def test_a_misspelt_option_of_a_layer_is_an_error():
    with pytest.raises((TypeError, ValueError)):
        runs.layer("Dense", units=10, use_bia=False)


def test_a_misspelt_place_is_an_error():
    with pytest.raises(TypeError):
        runs.script_layers(befor_relu=True)


def test_a_misspelt_column_is_an_error():
    with pytest.raises(KeyError):
        tables.After("test_acuracy")


@pytest.mark.parametrize("setting", ["dataset", "optimizer", "dtype_policy"])
def test_a_misspelt_value_of_a_setting_is_an_error(setting):
    with pytest.raises((KeyError, AttributeError, ValueError)):
        runs.Run(**{setting: "kmnits"})


def test_a_misspelt_question_is_an_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        run.main(["dropuot"])
    assert "'dropuot'" in capsys.readouterr().err


def test_a_column_is_headed_by_the_epochs_that_were_trained():
    values = tables.chosen(found(one={1: 0.5}), [tables.After("test_accuracy", 25)])
    assert list(values.columns) == ["test accuracy after 1 epoch"]


def test_rows_of_different_epochs_do_not_stand_under_one_heading():
    two = {"history": {"loss": [1.0, 1.0], "test_accuracy": [0.5, 0.6]}}
    with pytest.raises(ValueError, match="name an epoch"):
        tables.chosen(found(one={1: 0.5}) | {"two": {1: two}}, [tables.TEST])


def test_nor_do_they_in_a_table_by_seed():
    two = {"history": {"loss": [1.0, 1.0], "test_accuracy": [0.5, 0.6]}}
    labels = found(**{"a, 1": {1: 0.5}}) | {"a, 2": {1: two}}
    with pytest.raises(ValueError, match="name an epoch"):
        tables.grid(labels, [1, 2], ["a"], "rows")


def test_an_epoch_before_the_first_is_an_error():
    with pytest.raises(ValueError, match="the first epoch is 1"):
        tables.After("val_accuracy", 0)


def test_a_loss_has_no_failures():
    with pytest.raises(ValueError, match="no accuracy"):
        tables.grid({}, [], [], "rows", tables.After("val_loss"))


def test_runs_on_digits_do_not_stand_in_kmnists_tables():
    question = run.Question("momentum")
    on_digits = dataclasses.replace(question.runs["momentum 0.9"], dataset="digits")
    assert not any(question.find(lines_of(on_digits)).values())


def test_rows_that_are_compared_have_the_same_seeds():
    question = run.Question("bias")
    first, second = question.runs.values()
    lines = lines_of(first, seed=1) | lines_of(first, seed=2)
    lines |= lines_of(second, seed=2) | lines_of(second, seed=3)
    assert [list(seeds) for seeds in question.find(lines).values()] == [[2], [2]]


def test_a_seed_without_a_value_is_not_counted():
    values = tables.chosen(found(one={1: 0.5, 2: None}), [tables.TEST])
    assert tables.table(values).endswith("| one | 1 of 2 without a value | 1 |")


def test_a_difference_with_a_value_missing_is_not_said():
    values = tables.chosen(
        found(one={1: 0.5, 2: None}, other={1: 0.4, 2: 0.4}), [tables.TEST]
    ).iloc[:, 0]
    assert tables.difference(values["one"], values["other"]) == "1 of 2 without a value"


def test_a_momentum_for_an_optimizer_without_one_is_an_error():
    with pytest.raises((TypeError, ValueError)):
        runs.optimizer(runs.Run(optimizer_momentum=0.9), steps=1)


def test_the_interval_is_that_of_a_paired_t_test():
    one, other = [0.95, 0.97, 0.96], [0.94, 0.93, 0.96]
    values = tables.chosen(
        found(one=dict(enumerate(one)), other=dict(enumerate(other))), [tables.TEST]
    ).iloc[:, 0]
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    interval = tables.interval(values["one"] - values["other"])
    assert interval == pytest.approx(tuple(expected))


def test_the_number_of_seeds_that_are_ahead_is_said():
    values = tables.chosen(found(a={1: 0.5, 2: 0.6}, b={1: 0.4, 2: 0.7}), [tables.TEST])
    text = tables.difference(values.loc["a"].iloc[:, 0], values.loc["b"].iloc[:, 0])
    assert text.startswith("0.000 (")
    assert text.endswith("above with 1 of 2 seeds")


def test_it_is_seen_on_which_side_of_0_an_interval_ends():
    values = tables.chosen(
        found(a={1: 0.010, 2: 0.01165}, b={1: 0, 2: 0}), [tables.TEST]
    )
    text = tables.difference(values.loc["a"].iloc[:, 0], values.loc["b"].iloc[:, 0])
    assert text.startswith("+0.011 (+0.0003 to +0.021)")


def test_each_network_is_taken_where_it_validates_best():
    def line(validation, test):
        history = {"val_accuracy": [validation], "test_accuracy": [test]}
        return {1: {"history": {"loss": [1.0]} | history}}

    labels = {"a, 1": line(0.9, 0.5), "a, 2": line(0.8, 0.7), "b, 1": line(0.9, 0.4)}
    labels["b, 2"] = line(0.8, 0.9)
    said = tables.at_their_best(labels, [1, 2], ["a", "b"])
    assert said.startswith("Test accuracy after 1 epoch a at 1 minus that b at 1")
    assert "+0.100" in said


def test_failed_seeds_are_shown_and_counted():
    shown = tables.grid(
        found(**{"with, 1": {1: 0.9, 2: 0.1}}), [1], ["with"], "learning rate"
    )
    assert "0.900, 0.100 (1 of 2 failed)" in shown


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_default_runs_network_is_the_scripts(batch_norm):
    norm = runs.BATCH_NORM if batch_norm else None
    network = runs.build(runs.Run(runs.script_layers(norm)))
    script = model_batchnorm.build_model((28, 28, 1), 10, batch_norm=batch_norm)
    network.set_weights(script.get_weights())
    images = np.random.default_rng(0).random((20, 28, 28, 1), "float32")
    for training in False, True:  # the second step moves the averages
        predicted = network(images, training=training)
        np.testing.assert_allclose(
            predicted, script(images, training=training), atol=1e-6
        )
    for mine, scripts in zip(network.weights, script.weights, strict=True):
        np.testing.assert_allclose(mine, scripts, atol=1e-6)


def test_the_default_runs_settings_are_the_scripts():
    (default, _) = run.Question("default_run").runs.values()
    options = model_batchnorm.parse_options([])
    assert default.epochs == options.epochs
    assert default.learning_rate == options.learning_rate
    assert default.dtype_policy == options.dtype_policy
    assert default.batch_size == model_batchnorm.default_batch_size(48_000)
    assert isinstance(runs.optimizer(default, steps=1), runs.keras.optimizers.Adam)


# A run is made with its settings.


class Seen(runs.Measurement):
    """What a network is like at the end of its training."""

    def on_epoch_begin(self, epoch, logs=None):
        self.rate = float(self.model.optimizer.learning_rate)  # of the last epoch

    def on_train_end(self, logs=None):
        loss, accuracy = self.model.evaluate(*self.data[1], batch_size=250, verbose=0)
        self.result = {
            "optimizer": type(self.model.optimizer).__name__,
            "rate": self.rate,
            "steps": int(self.model.optimizer.iterations),
            "policies": [layer.dtype_policy.name for layer in self.model.layers],
            "test_accuracy": accuracy,
            "weights": [float(np.sum(each)) for each in self.model.get_weights()],
        }


FLAT = runs.Run([runs.layer("Flatten")], dataset="digits", train_images=100, epochs=1)


def seen(made, seed=1, **measurements):
    """Make a run; return its history, and what was seen at its end."""
    results = runs.make(made, seed, measurements | {"Seen": Seen})
    return results["history"], results["measured"]["Seen"]


def test_a_run_has_its_steps_and_its_policy():
    made = dataclasses.replace(
        FLAT, epochs=2, batch_size=20, dtype_policy="mixed_bfloat16"
    )
    _, at_end = seen(made)
    assert at_end["steps"] == 8  # 80 images of 100 in batches of 20, twice
    assert at_end["policies"] == ["mixed_bfloat16", "float32"]  # as in the script


def test_a_run_has_its_optimizer_and_the_decay_over_all_its_epochs():
    decayed = dataclasses.replace(
        FLAT, optimizer="SGD", learning_rate=0.5, cosine_decay=True, epochs=2
    )
    _, at_end = seen(decayed)
    assert at_end["optimizer"] == "SGD"
    assert at_end["rate"] == pytest.approx(0.25)  # halfway, where the last epoch begins


def test_a_run_is_tested_on_the_test_images():
    history, at_end = seen(FLAT)
    assert history["test_accuracy"] == [at_end["test_accuracy"]]


def test_another_seed_gives_other_weights_and_the_same_seed_the_same():
    first, second, again = seen(FLAT), seen(FLAT, seed=2), seen(FLAT)
    assert first == again
    assert first != second


def test_a_run_has_its_first_images():
    (x_train, y_train), _ = runs.load(FLAT)
    (x_all, y_all), _ = runs.load(dataclasses.replace(FLAT, train_images=None))
    np.testing.assert_array_equal(x_train, x_all[:100])
    np.testing.assert_array_equal(y_train, y_all[:100])


def test_training_and_test_images_are_scaled_alike():
    (x_train, _), (x_test, _) = runs.load(dataclasses.replace(FLAT, largest_pixel=255))
    assert x_train.max() == x_test.max() == 255


def test_pooled_images_are_all_of_them_in_another_split():
    whole = dataclasses.replace(FLAT, train_images=None)
    published = runs.load(whole)
    mixed = runs.load(dataclasses.replace(whole, pooled=True))
    assert mixed[1][0].shape == published[1][0].shape
    assert not np.array_equal(mixed[1][0], published[1][0])

    def labelled(data):
        return sorted(
            (image.tobytes(), label) for x, y in data for image, label in zip(x, y)
        )

    assert labelled(mixed) == labelled(published)


def test_a_cosine_decay_ends_at_0():
    decayed = runs.optimizer(runs.Run(cosine_decay=True), steps=10)
    decayed.iterations.assign(10)
    assert float(decayed.learning_rate) == pytest.approx(0)


def test_an_optimizer_has_its_rate_and_momentum():
    sgd = runs.optimizer(
        runs.Run(optimizer="SGD", learning_rate=0.3, optimizer_momentum=0.9), steps=1
    )
    assert float(sgd.learning_rate) == pytest.approx(0.3)
    assert sgd.momentum == 0.9


def test_a_layer_before_the_last_norm_stands_right_before_it():
    dropout = runs.layer("Dropout", rate=0.5)
    for before_relu in False, True:
        listed = runs.script_layers(before_relu=before_relu, before_last_norm=dropout)
        assert listed[listed.index(dropout) + 1] == runs.BATCH_NORM


# What is measured in a run.


@pytest.mark.parametrize(
    "kind",
    sorted(
        {
            kind
            for question in map(run.Question, run.NAMES)
            for kind in question.measurements.values()
        },
        key=lambda kind: kind.key(),
    ),
    ids=lambda kind: kind.__name__,
)
def test_a_measurement_leaves_the_training_as_it_is(kind, monkeypatch):
    monkeypatch.setitem(fine_tuning.TRAINING, "epochs", 1)
    network = [
        runs.layer("Flatten"),
        runs.layer("Dense", units=8),
        runs.layer("ReLU"),
        runs.BATCH_NORM,
    ]
    made = dataclasses.replace(FLAT, network=network, epochs=2)
    assert seen(made, measured=kind) == seen(made)


def test_a_measurement_of_the_same_name_in_another_file_is_another_key():
    other = type("Statistics", (runs.Measurement,), {"__module__": "questions.other"})
    assert other.key() == "other.Statistics"
    assert averages.Statistics.key().startswith("averages.Statistics ")


def test_another_setting_of_a_measurement_is_another_key(monkeypatch):
    before = averages.Statistics.key()
    monkeypatch.setitem(averages.Statistics.settings, "batches", 3)
    assert averages.Statistics.key() != before


def test_statistics_are_recomputed():
    norm = runs.layer("BatchNormalization", momentum=0.999)
    made = dataclasses.replace(
        FLAT, network=[norm, *FLAT.network], epochs=9, batch_size=20, largest_pixel=255
    )
    (result,) = runs.make(made, 1, {"a": averages.Statistics})["measured"].values()
    assert result["moving"] < min(result["batch"], result["recomputed"])


@pytest.mark.parametrize(("bias", "share"), [("zeros", 1), ("ones", 0)])
def test_a_unit_that_is_always_0_is_dead(bias, share):
    dense = runs.layer(
        "Dense", units=4, kernel_initializer="zeros", bias_initializer=bias
    )
    made = dataclasses.replace(FLAT, network=[*FLAT.network, dense, runs.layer("ReLU")])
    (result,) = runs.make(made, 1, {"a": dead_units.DeadUnits})["measured"].values()
    assert result == {"1": share}


def test_dead_units_are_0_for_all_validation_images():
    network = [*FLAT.network, runs.layer("Dense", units=64), runs.layer("ReLU")]
    made = dataclasses.replace(FLAT, network=network)
    kind = dead_units.DeadUnits(runs.load(made))
    kind.set_model(runs.build(made))
    kind.on_train_begin()
    kind.on_epoch_end(0)
    units = kind.model.layers[1](kind.data[0][0][80:].reshape(20, -1))
    share = np.mean(np.max(units, axis=0) <= 0)
    assert 0 < share < 1
    assert kind.result == {"1": share}


def test_percentiles_are_those_of_the_last_layers_input():
    (result,) = runs.make(FLAT, 1, {"a": inside.Percentiles})["measured"].values()
    (x_train, _), _ = runs.load(FLAT)
    pixel = x_train[80:].reshape(20, -1)[:, result["input"]]
    expected = np.percentile(pixel, [15, 50, 85])
    np.testing.assert_allclose(np.ravel(result["values"]), expected, atol=1e-6)


def test_one_by_one_in_training_mode_all_get_the_same_answer():
    made = dataclasses.replace(
        FLAT, network=[*FLAT.network, runs.BATCH_NORM], epochs=9, batch_size=20
    )
    results = runs.make(made, 1, {"a": training_mode.TrainingMode})
    by_kind = results["measured"]["a"]
    assert by_kind["moving"] == results["history"]["test_accuracy"][-1]
    assert by_kind["sorted"] < by_kind["250"]
    _, (_, labels) = runs.load(FLAT)
    assert by_kind["1"] in np.bincount(labels) / len(labels)


def test_recomputed_statistics_are_the_plain_mean_of_the_batches():
    class Means(averages.Statistics):
        means = []

        def test(self):
            self.means.append(self.model.layers[0].moving_mean.numpy())

    made = dataclasses.replace(
        FLAT, network=[runs.BATCH_NORM, *FLAT.network], train_images=1000
    )
    runs.make(made, 1, {"a": Means})
    (x_train, _), _ = runs.load(made)
    order = np.random.default_rng(0).permutation(800)[:750]  # three batches of 250
    np.testing.assert_allclose(
        Means.means[-1], x_train[order].mean((0, 1, 2)), rtol=1e-3
    )


def test_fine_tuning_of_the_last_layer_leaves_the_rest_and_of_everything_does_not(
    monkeypatch,
):
    monkeypatch.setitem(fine_tuning.TRAINING, "epochs", 1)
    network = [*FLAT.network, runs.layer("Dense", units=16), runs.BATCH_NORM]
    made = dataclasses.replace(FLAT, network=network, epochs=5, batch_size=20)
    results = runs.make(made, 1, {"a": fine_tuning.FineTuning})
    left = {recipe: of["KMNIST"] for recipe, of in results["measured"]["a"].items()}
    assert left["freeze_the_body"] == results["history"]["test_accuracy"][-1]
    assert left["train_everything"] != left["freeze_the_body"]
    assert len(set(left.values())) == 4


def test_fine_tuning_is_tested_on_digits_it_was_not_tuned_on(monkeypatch):
    train, (x_test, y_test) = model_batchnorm.load_data("digits")
    digits = train, (x_test, (y_test + 1) % 10)  # no network can know
    monkeypatch.setattr(model_batchnorm, "load_data", lambda _: digits)
    network = [*FLAT.network, runs.layer("Dense", units=64), runs.BATCH_NORM]
    made = dataclasses.replace(FLAT, network=network)
    results = runs.make(made, 1, {"a": fine_tuning.FineTuning})
    assert results["measured"]["a"]["train_everything"]["digits"] < 0.2


def body():
    """The layers of a network but the last, in fine-tuning."""
    network = [runs.layer("Dense", units=4), runs.BATCH_NORM, *FLAT.network]
    return runs.build(dataclasses.replace(FLAT, network=network)).layers[:-1]


def test_frozen_layers_are_those_of_batch_normalization():
    layers = body()
    fine_tuning.freeze_the_layers(layers)
    assert [layer.trainable for layer in layers] == [True, False, True]


def test_a_frozen_body_is_not_trained():
    layers = body()
    fine_tuning.freeze_the_body(layers)
    assert not any(layer.trainable for layer in layers)


def test_where_the_averages_move_no_weight_is_trained():
    layers = body()
    fine_tuning.freeze_all_but_the_averages(layers)
    assert [layer.trainable for layer in layers] == [False, True, False]
    assert layers[1].trainable_weights == []


# The command.


@pytest.fixture
def made(monkeypatch):
    """The (seed, run) pairs that are made, in a moment instead of a training."""
    entries = []

    def make(run, seed, measurements=()):
        entries.append((seed, run))
        accuracies = dict.fromkeys(tables.QUANTITIES, [0.5] * run.epochs)
        history = {"loss": [1.0] * run.epochs, **accuracies}
        measured = dict.fromkeys(measurements)
        return {"history": history, "parameters": 1, "measured": measured}

    monkeypatch.setattr(runs, "make", make)
    monkeypatch.setattr(runs.keras.utils, "clear_session", lambda: None)  # takes long
    return entries


TRIED = ["bias", "--dataset", "digits", "--epochs", "1", "--folder"]


def test_of_two_lines_for_the_same_run_the_later_one_counts(tmp_path, made):
    results = runs.Results(tmp_path / "results.jsonl")
    results.make(TINY, 1, {})
    results.make(TINY, 1, {"Later": runs.Measurement})
    (line,) = results.lines().values()
    assert line["measured"] == {"Later": None}


def test_ctrl_c_leaves_what_is_made_and_reports_it(tmp_path, monkeypatch, made):
    once = runs.make

    def stopped(*entry):
        if made:
            raise KeyboardInterrupt
        return once(*entry)

    monkeypatch.setattr(runs, "make", stopped)
    assert run.main([*TRIED, str(tmp_path)]) == 130
    assert (tmp_path / "README.md").exists()
    monkeypatch.setattr(runs, "make", once)
    run.main([*TRIED, str(tmp_path)])
    assert len(made) == len(set(map(repr, made))) == 6


def test_backwards_makes_the_last_run_first(tmp_path, made):
    run.main([*TRIED, str(tmp_path)])
    assert [seed for seed, _ in made] == [1, 1, 2, 2, 3, 3]
    run.main([*TRIED, str(tmp_path / "backwards"), "--backwards"])
    assert made[6:] == made[5::-1]


def test_a_run_that_another_process_has_made_is_not_made_again(
    tmp_path, monkeypatch, made
):
    once = runs.make

    def beside_another(run, seed, measurements):
        if len(made) == 1:
            monkeypatch.setattr(runs, "make", once)
            other = runs.Results(tmp_path / "results.jsonl")
            other.make(*left[-1])
        return once(run, seed, measurements)

    question = run.Question("bias", dataset="digits", epochs=1)
    left = run.left_to_make([question], [question], {})
    monkeypatch.setattr(runs, "make", beside_another)
    run.main([*TRIED, str(tmp_path)])
    assert len(made) == len(set(map(repr, made))) == 6


def test_what_other_questions_measure_is_measured_at_once(tmp_path, made):
    questions = [run.Question(name, "digits", 1, 1) for name in run.NAMES]
    asked = questions[run.NAMES.index("averages")]
    results = runs.Results(tmp_path / "results.jsonl")
    run.make_runs([asked], questions, results, backwards=False)
    default = next(iter(asked.runs.values()))
    measured = results.lines()[runs.settings(default), 1]["measured"]
    assert {averages.Statistics.key(), dead_units.DeadUnits.key()} <= measured.keys()


def test_a_question_that_stands_there_is_reported_again(tmp_path, made):
    run.main([*TRIED, str(tmp_path)])
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text("utf-8").replace("0.500", "0.123"), "utf-8")
    run.main(["precision", *TRIED[1:], str(tmp_path)])
    assert "0.123" not in readme.read_text("utf-8")


def test_a_section_whose_runs_are_not_made_is_left_as_it_is(tmp_path, made, capsys):
    run.main([*TRIED, str(tmp_path)])
    run.main(["precision", *TRIED[1:], str(tmp_path), "--epochs", "2"])
    assert "0.500" in (tmp_path / "README.md").read_text("utf-8").split("## ")[1]
    assert "Left as it is" in capsys.readouterr().out


def test_a_figure_is_written(tmp_path, made):
    run.main(["sgd_learning_rates", *TRIED[1:], str(tmp_path), "--seeds", "1"])
    assert (tmp_path / "sgd_learning_rates.png").stat().st_size > 10_000


def test_without_its_data_it_says_what_needs_none(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "load_data", mock.Mock(side_effect=OSError("no data")))
    with pytest.raises(SystemExit, match="no data\nWithout a network: --dataset"):
        run.main([*TRIED, str(tmp_path)])


@pytest.mark.parametrize("option", ["--seeds 1", "--epochs 1", "--dataset digits"])
def test_a_try_with_other_settings_needs_a_folder_of_its_own(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        run.main(["bias", *option.split()])
    assert "--folder of their own" in capsys.readouterr().err


def test_a_damaged_line_is_named(tmp_path, made):
    run.main([*TRIED, str(tmp_path)])
    file = tmp_path / "results.jsonl"
    file.write_text(file.read_text("utf-8") + '{"run": {"net', "utf-8")
    with pytest.raises(SystemExit, match="results.jsonl, line 7 is damaged"):
        run.main([*TRIED, str(tmp_path)])


def test_a_marker_without_an_end_is_an_error():
    text = f"{run.start('a')}\n\n## Next\n\n{run.start('b')}\n{run.END}\n"
    with pytest.raises(SystemExit, match="README.md lacks"):
        run.fill(text, "a", "tables")


def test_the_tables_of_the_readme_are_those_of_the_runs(committed):
    text = filled = (ROOT / "experiments" / "README.md").read_text("utf-8")
    for name in run.NAMES:
        filled = run.fill(filled, name, run.Question(name).report(committed))
    measured = json.loads((ROOT / "experiments" / "speed.json").read_text("utf-8"))
    assert run.fill(filled, "speed", speed.report(measured)) == text


@pytest.mark.parametrize("readme", ["README.md", "experiments/README.md"])
def test_no_row_of_a_readmes_table_is_broken_over_lines(readme):
    for line in (ROOT / readme).read_text("utf-8").splitlines():
        assert line.lstrip().startswith("|") == line.endswith("|"), line


def test_every_question_has_its_heading_and_its_marker_and_no_other_has():
    text = (ROOT / "experiments" / "README.md").read_text("utf-8")
    sections = re.findall(
        r"^## (.+)\n(?:(?!^## )(?s:.))*?^<!-- question: (.+) -->$", text, re.M
    )
    questions = [(run.Question(name).heading, name) for name in run.NAMES]
    assert sorted(sections) == sorted([*questions, ("How fast is it?", "speed")])


def test_no_line_of_the_results_is_one_that_no_question_asks_for(committed):
    asked = {
        (runs.settings(asked), seed)
        for question in map(run.Question, run.NAMES)
        for asked in question.runs.values()
        for seed in question.seeds
    }
    assert committed.keys() <= asked


def test_every_run_is_made_once_and_a_second_call_changes_no_file(
    tmp_path, monkeypatch
):
    options = ["bias", "--dataset", "digits", "--epochs", "1", "--seeds", "1"]
    monkeypatch.chdir(tmp_path)
    run.main([*options, "--folder", "."])
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(runs, "make", pytest.fail)
    run.main([*options, "--folder", str(tmp_path)])
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_a_try_says_that_it_is_one(tmp_path):
    options = ["--dataset", "digits", "--report-only", "--folder", str(tmp_path)]
    run.main(["bias", *options])
    assert run.TRY in (tmp_path / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", run.NAMES)
def test_no_two_labels_are_of_the_same_run(name):
    settings = list(map(runs.settings, run.Question(name).runs.values()))
    assert len(set(settings)) == len(settings)


def test_numbers_are_written_with_five_digits():
    assert runs.rounded({"loss": [0.123456789]}) == {"loss": [0.12346]}


def test_a_number_of_numpy_is_written_as_json():
    assert json.dumps(runs.rounded({"share": np.float32(0.5)})) == '{"share": 0.5}'


def test_a_run_without_a_number_is_written_as_json(tmp_path, monkeypatch):
    results = runs.Results(tmp_path / "results.jsonl")
    made = {"history": {"loss": [float("nan")]}, "measured": {}, "parameters": 1}
    monkeypatch.setattr(runs, "make", lambda *_: made)
    results.make(TINY, 1, {})
    line = json.loads(results.file.read_text(), parse_constant=pytest.fail)
    assert line["history"]["loss"] == [None]
