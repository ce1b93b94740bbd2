"""The experiments: the tables are the results', and a run is what its settings say."""

import inspect
import json
import re
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import model_batchnorm
import run
import runs
import speed
import tables
from conftest import ROOT
from questions import (
    averages,
    channel,
    dead_units,
    epsilon,
    fine_tuning,
    gradients,
    momentum,
    too_high,
    training_mode,
    weight_decay,
    which_averages,
)

README = (ROOT / "experiments" / "README.md").read_text("utf-8")
FLAT = runs.Run([runs.layer("Flatten")], dataset="digits", train_images=100, epochs=1)
NETWORK = [
    *(runs.layer("Conv2D", filters=4, kernel_size=9), runs.layer("ReLU")),
    runs.BATCH_NORM,
    *(runs.layer("Conv2D", filters=4, kernel_size=9), runs.layer("ReLU")),
    runs.BATCH_NORM,
    *(runs.layer("Flatten"), runs.layer("Dense", units=8), runs.layer("ReLU")),
    runs.BATCH_NORM,
]
SMALL = replace(FLAT, network=NETWORK, epochs=2, batch_size=20)


@pytest.fixture(scope="module", autouse=True)
def eagerly():
    """Without graphs: tracing them takes longer than these small trainings."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def lines():
    return runs.read(runs.HERE / runs.RESULTS)


def measure(kind, made):
    """Make a run with seed 1; return what was measured."""
    return runs.make(made, 1, kind)["measured"][kind.key()]


# The README's tables.


@pytest.mark.parametrize("name", run.NAMES)
def test_the_readme_has_a_questions_heading_tables_and_figure(name, lines):
    question = run.Question(name)
    found = question.find(lines)
    report = question.report(found)
    before, marker, _ = README.partition(run.start(name))
    assert bool(marker) == bool(report)  # no section before there is a result
    if report:
        assert re.findall("^## (.+)$", before, re.M)[-1] == question.heading
        assert run.fill(README, name, report) == README
        assert hasattr(question.module, "draw") == (f"({name}.png)" in README)
        if hasattr(question.module, "draw"):
            question.module.draw(found)


def test_the_readmes_table_of_speed_is_that_of_the_results():
    measured = json.loads((ROOT / "experiments" / "speed.json").read_text("utf-8"))
    assert run.fill(README, "speed", speed.report(measured)) == README


def test_every_line_of_the_results_belongs_to_a_question(lines):
    asked = [made for name in run.NAMES for made in run.Question(name).runs.values()]
    settings = [replace(made, epochs=1) for made in asked]
    assert all(replace(line["run"], epochs=1) in settings for line in lines)


# Which line answers for a run.


@pytest.mark.parametrize(
    ("made", "asked", "measurement", "expected"),
    [
        ({}, {}, None, True),
        ({"learning_rate": 0.002}, {}, None, False),
        ({"epochs": 1}, {}, None, False),
        ({"epochs": 3}, {}, None, True),  # its first epochs are the same
        ({"epochs": 3, "cosine_decay": True}, {"cosine_decay": True}, None, False),
        ({"epochs": 3}, {}, dead_units.DeadUnits, True),  # measured after every epoch
        ({"epochs": 3}, {}, averages.Statistics, False),  # measured at the end
    ],
)
def test_a_run_answers_for_the_same_and_for_a_shorter_training(
    made, asked, measurement, expected
):
    asked = replace(SMALL, **asked)
    assert runs.answers(replace(SMALL, **made), asked, measurement) == expected


# A run is what its settings say.


@pytest.mark.parametrize("name", [runs.WITH, runs.WITHOUT])
def test_the_default_run_is_the_scripts_training(name):
    default = run.Question("default_run").runs[name]
    options = inspect.signature(model_batchnorm.main).parameters
    assert default.epochs == options["epochs"].default
    made = replace(default, dataset="digits", train_images=100, epochs=2, batch_size=20)
    found = runs.make(made, seed=1)["history"]  # first: it switches determinism on
    (x_train, y_train), _ = runs.load(made)
    keras.utils.set_random_seed(1)
    model = model_batchnorm.build_model((28, 28, 1), 10, batch_norm=name == runs.WITH)
    model_batchnorm.use_fused_kernel(model)
    rate = options["learning_rate"].default
    history = model_batchnorm.train(
        model, x_train, y_train, epochs=2, batch_size=20, learning_rate=rate
    )
    assert history.history.items() <= found.items()


def test_pooled_images_are_all_of_them_in_another_split():
    whole = replace(FLAT, train_images=None)
    published = runs.load(whole)
    mixed = runs.load(replace(whole, pooled=True))
    assert mixed[1][0].shape == published[1][0].shape
    assert not np.array_equal(mixed[1][0], published[1][0])
    assert sum(x.sum() for x, _ in mixed) == pytest.approx(
        sum(x.sum() for x, _ in published)
    )


def test_weight_decay_leaves_gamma_out():
    decayed = replace(SMALL, optimizer="SGD", weight_decay=0.5)
    model = runs.build(decayed)
    zeros = [keras.ops.zeros_like(weight) for weight in model.trainable_variables]
    before = [float(abs(weight.numpy()).sum()) for weight in model.trainable_variables]
    optimizer = runs.optimizer(decayed, model, steps=1)
    optimizer.apply(zeros, model.trainable_variables)
    for weight, old in zip(model.trainable_variables, before):
        shrunk = float(abs(weight.numpy()).sum()) < old
        assert shrunk == (weight.name == "kernel")  # biases and beta are 0


def test_the_last_layer_can_have_a_learning_rate_of_its_own():
    kernels = {}
    for rate in None, 0.0:
        made = replace(SMALL, optimizer="SGD", last_learning_rate=rate, epochs=1)
        kernels[rate] = measure(weight_decay.KernelNorms, made)
    still = measure(weight_decay.KernelNorms, replace(SMALL, learning_rate=0.0))
    assert kernels[0.0][-1] == still[-1] != kernels[None][-1]
    assert kernels[0.0][0] != still[0]


def test_a_residual_connection_adds_the_input():
    zeros = {"kernel_initializer": "zeros", "padding": "same"}
    convolution = runs.layer("Conv2D", filters=1, kernel_size=3, **zeros)
    images = np.random.default_rng(0).random((2, 28, 28, 1), "float32")
    network = [runs.residual([convolution]), runs.layer("Flatten")]
    model = runs.build(replace(FLAT, network=network))
    before_the_last = keras.Model(model.inputs[0], model.layers[-1].input)
    np.testing.assert_array_equal(before_the_last(images), images.reshape(2, -1))


# What is measured in a run.


@pytest.mark.parametrize(
    "kind",
    [
        dead_units.DeadUnits,
        gradients.AtTheStart,
        momentum.FirstLayer,
        which_averages.Swapped,
    ],
)
def test_measuring_in_a_training_does_not_change_it(kind):
    assert runs.make(SMALL, 1, kind)["history"] == runs.make(SMALL, 1)["history"]


def test_recomputed_statistics_help_where_the_averages_lag():
    norm = runs.layer("BatchNormalization", momentum=0.999)
    lagging = replace(
        FLAT, network=[norm, *FLAT.network], epochs=9, batch_size=20, largest_pixel=255
    )
    result = measure(averages.Statistics, lagging)
    assert result["moving"] < min(result["batch"], result["recomputed"])


@pytest.mark.parametrize(("bias", "share"), [("zeros", 1), ("ones", 0)])
def test_a_unit_that_is_always_0_is_dead(bias, share):
    dense = runs.layer(
        "Dense", units=4, kernel_initializer="zeros", bias_initializer=bias
    )
    made = replace(FLAT, network=[*FLAT.network, dense, runs.layer("ReLU")])
    assert measure(dead_units.DeadUnits, made) == {"1": share}


def test_the_first_moving_variance_starts_at_1():
    norm = runs.layer("BatchNormalization", momentum=0.9)
    black = replace(FLAT, network=[norm, *FLAT.network], batch_size=20, largest_pixel=0)
    measured = measure(momentum.FirstLayer, black)
    assert measured["step"] == [4]  # one for each execution of up to 16 steps
    assert measured["moving"] == [pytest.approx(0.9**4, rel=1e-4)]
    assert measured["true"] == [0]


def test_true_averages_without_their_initial_values_are_the_true_ones():
    true = [(np.array([3.0]), np.array([0.01]))]
    averages_ = which_averages.with_initial(true, 0.25)
    assert averages_ == [(2.25, 0.2575)]
    ((mean, variance),) = which_averages.without_initial(averages_, 0.25)
    np.testing.assert_allclose([mean, variance], true[0])


def test_where_the_averages_lag_the_true_ones_validate_better():
    norm = runs.layer("BatchNormalization", momentum=0.999)
    lagging = replace(
        FLAT, network=[norm, *FLAT.network], epochs=2, batch_size=4, largest_pixel=255
    )
    measured = measure(which_averages.Swapped, lagging)["2"]
    accuracy = measured["validation accuracy"]
    assert measured["initial"] == pytest.approx(0.999**40, rel=1e-4)
    assert accuracy["as trained"] < accuracy["all true"]


def test_the_networks_own_epsilon_gives_the_trainings_test_accuracy():
    made = runs.make(SMALL, 1, epsilon.Epsilons)
    (measured,) = made["measured"].values()
    expected = pytest.approx(made["history"]["test_accuracy"][-1])
    assert measured["test accuracy"]["1e-03"] == expected
    assert measured["in the first layer"]["1e-03"] == expected


def test_a_rate_that_is_far_too_high_makes_the_weights_nan():
    absurd = replace(SMALL, optimizer="SGD", learning_rate=1e30)
    assert measure(too_high.Failure, absurd)["nan"] > 0.9
    assert measure(too_high.Failure, SMALL)["nan"] == 0


def test_gradients_are_measured_from_the_first_convolution_on():
    measured = measure(gradients.AtTheStart, SMALL)
    assert len(measured["gradients"]) == 2
    assert measured["loss"] == pytest.approx(2.3, abs=1)


def test_one_image_at_a_time_in_training_mode_all_get_the_same_answer():
    network = [*FLAT.network, runs.BATCH_NORM]
    made = replace(FLAT, network=network, epochs=9, batch_size=20)
    by_kind = measure(training_mode.TrainingMode, made)
    assert by_kind["sorted"] < by_kind["250"]
    _, (_, labels) = runs.load(FLAT)
    assert by_kind["1"] in np.bincount(labels) / len(labels)


@pytest.fixture(scope="module")
def tuned():
    """What fine-tuning gives after a short training, by recipe; and the accuracy before."""
    network = [*FLAT.network, runs.layer("Dense", units=16), runs.BATCH_NORM]
    made = replace(FLAT, network=network, epochs=5, batch_size=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fine_tuning.TRAINING, "epochs", 1)
        patch.setitem(fine_tuning.FineTuning.settings, "sizes", [40])
        results = runs.make(made, 1, fine_tuning.FineTuning)
    (measured,) = results["measured"].values()
    return measured, results["history"]["test_accuracy"][-1]


def test_only_the_recipe_that_trains_the_last_layer_keeps_the_old_accuracy(tuned):
    measured, before = tuned
    kept = [
        name for name, of in measured.items() if of["KMNIST"] == pytest.approx(before)
    ]
    assert kept == ["40, last_layer"]


def test_training_false_in_the_call_does_not_freeze_the_averages_in_fit(tuned):
    measured, _ = tuned
    moved = [name for name, of in measured.items() if of["averages moved"]]
    assert "40, called_in_inference_mode" in moved
    assert "40, frozen" not in moved


def test_a_channel_is_normalized_by_its_own_mean_and_variance():
    result = measure(channel.Channel, SMALL)
    counts, edges = (
        np.array(result["normalized"][name]) for name in ("counts", "edges")
    )
    middles = (edges[1:] + edges[:-1]) / 2
    assert counts.sum() == 20 * 12 * 12  # validation images and positions
    assert np.average(middles, weights=counts) == pytest.approx(0, abs=0.1)


def test_a_kernels_length_is_that_of_all_its_weights():
    ones = runs.layer("Dense", units=4, kernel_initializer="ones")
    frozen = replace(FLAT, network=[*FLAT.network, ones], learning_rate=0.0)
    assert measure(weight_decay.KernelNorms, frozen)[0] == pytest.approx(56)


# Tables.


def test_a_difference_is_paired_by_seed_and_has_an_interval():
    first, second = pd.Series([0.95, 0.97, 0.96]), pd.Series([0.94, 0.93, 0.96])
    assert tables.difference(first, second) == ("+0.017 (-0.035 to +0.068)")
    assert tables.positive(first, second) == "2 of 3 seeds"


# The command.


@pytest.fixture
def question():
    """A question with two seeds, and with networks that train in a moment."""
    question = run.Question("bias", small=True)
    question.runs = {
        label: replace(FLAT, learning_rate=rate)
        for label, rate in zip(question.runs, (0.001, 0.01))
    }
    return question


def test_a_second_call_changes_no_file(question, tmp_path):
    run.answer([question], tmp_path)
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    run.answer([question], tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_ctrl_c_keeps_what_is_made(question, tmp_path, monkeypatch):
    add = runs.add

    def interrupted(file, made, seed, measurement):
        if seed == 2:
            raise KeyboardInterrupt
        add(file, made, seed, measurement)

    monkeypatch.setattr(runs, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.answer([question], tmp_path)
    assert "1 of 1 seed |" in (tmp_path / "README.md").read_text("utf-8")


def test_what_a_killed_run_left_of_its_line_is_no_error(question, tmp_path):
    file = tmp_path / runs.RESULTS
    run.make_runs([question], file)
    whole = file.read_text("utf-8")
    file.write_text(whole + whole[:200].rstrip("\n"), "utf-8")
    assert len(runs.read(file)) == 4
    runs.add(file, replace(FLAT, learning_rate=0.1), seed=1)
    assert len(runs.read(file)) == 5
    assert file.read_text("utf-8").startswith(whole)


def test_a_network_stands_once_in_the_results(question, tmp_path):
    file = tmp_path / runs.RESULTS
    run.make_runs([question], file)
    assert file.read_text("utf-8").count('"layers"') == 1
    assert {str(line["run"].network) for line in runs.read(file)} == {str(FLAT.network)}


def test_numbers_are_kept_with_five_digits_and_nan_as_null():
    result = {1: (np.float32(1 / 3), float("nan"), np.arange(2))}
    assert runs.rounded(result) == {"1": [0.33333, None, [0, 1]]}
