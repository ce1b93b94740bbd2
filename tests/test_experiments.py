"""The experiments: the tables are the results', and a run is what its settings say."""

import json
import re
from dataclasses import replace

import keras
import numpy as np
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
    fine_tuning,
    inside,
    training_mode,
    weight_decay,
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
MEASUREMENTS = [
    averages.Statistics,
    channel.Channel,
    dead_units.DeadUnits,
    fine_tuning.FineTuning,
    inside.Percentiles,
    training_mode.TrainingMode,
    weight_decay.KernelNorms,
]


@pytest.fixture(scope="module", autouse=True)
def eagerly():
    """Without graphs: tracing them takes longer than these small trainings."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def lines():
    return runs.read(runs.HERE / runs.RESULTS)


def line_of(made, seed=1, accuracy=0.5, **more):
    """Return a line of results, as read() does."""
    history = dict.fromkeys(tables.QUANTITIES, [accuracy] * made.epochs)
    history["loss"] = [1.0] * made.epochs
    return {"run": made, "seed": seed, "history": history, "measured": {}} | more


def measure(kind, made):
    """Make a run with seed 1; return what was measured."""
    return runs.make(made, 1, [kind])["measured"][kind.key()]


# The README's tables.


@pytest.mark.parametrize("name", run.NAMES)
def test_the_readmes_tables_are_those_of_the_results(name, lines):
    report = run.Question(name).report(lines)
    if report is None:  # its runs are not made yet
        assert run.start(name) not in README
    else:
        assert run.fill(README, name, report) == README


def test_the_readmes_table_of_speed_is_that_of_the_results():
    measured = json.loads((ROOT / "experiments" / "speed.json").read_text("utf-8"))
    assert run.fill(README, "speed", speed.report(measured)) == README


def test_every_question_with_runs_has_its_heading_and_its_marker(lines):
    sections = re.findall(
        r"^## (.+)\n(?:(?!^## )(?s:.))*?^<!-- question: (.+) -->$", README, re.M
    )
    questions = [
        (question.heading, question.name)
        for question in map(run.Question, run.NAMES)
        if question.report(lines)
    ]
    assert sorted(sections) == sorted([*questions, ("How fast is it?", "speed")])


def test_the_readme_shows_every_figure_that_a_question_draws():
    drawn = {
        name
        for name in run.NAMES
        if hasattr(run.Question(name).module, "draw") and run.start(name) in README
    }
    assert drawn == set(re.findall(r"(\w+)\.png", README))


def test_every_line_of_the_results_belongs_to_a_question(lines):
    asked = [made for name in run.NAMES for made in run.Question(name).runs.values()]
    settings = [replace(made, epochs=1) for made in asked]
    assert all(replace(line["run"], epochs=1) in settings for line in lines)


# Which line answers for a run.


@pytest.mark.parametrize(
    ("made", "measurement", "expected"),
    [
        ({}, None, True),
        ({"learning_rate": 0.002}, None, False),
        ({"epochs": 1}, None, False),
        ({"epochs": 3}, None, True),  # its first epochs are the same
        ({"epochs": 3}, dead_units.DeadUnits, True),  # measured after every epoch
        ({"epochs": 3}, averages.Statistics, False),  # measured at the end
    ],
)
def test_a_run_answers_for_the_same_and_for_a_shorter_training(
    made, measurement, expected
):
    assert runs.answers(replace(SMALL, **made), SMALL, measurement) == expected


def test_a_longer_run_does_not_answer_if_the_learning_rate_decays():
    decayed = replace(SMALL, cosine_decay=True)
    assert not runs.answers(replace(decayed, epochs=3), decayed)


def test_what_is_found_of_a_longer_run_are_its_first_epochs():
    found = runs.find([line_of(replace(FLAT, epochs=3))], FLAT, seed=1)
    assert found["history"]["val_accuracy"] == [0.5]


def test_a_line_without_the_measurement_does_not_answer():
    assert not runs.find([line_of(FLAT)], FLAT, 1, averages.Statistics)


def test_all_labels_have_the_same_seeds():
    question = run.Question("bias")
    first, second = question.runs.values()
    made = [line_of(first, 1), line_of(first, 2), line_of(second, 2)]
    assert [list(seeds) for seeds in question.find(made).values()] == [[2], [2]]


# A run is what its settings say.


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_default_runs_network_starts_like_the_scripts(batch_norm):
    made = runs.Run(runs.script_layers(runs.BATCH_NORM if batch_norm else None))
    keras.utils.set_random_seed(1)
    network = runs.build(made)
    keras.utils.set_random_seed(1)
    script = model_batchnorm.build_model((28, 28, 1), 10, batch_norm=batch_norm)
    images = np.random.default_rng(0).random((20, 28, 28, 1), "float32")
    for training in True, False:  # the first step moves the averages
        expected = script(images, training=training)
        np.testing.assert_allclose(
            network(images, training=training), expected, atol=1e-6
        )


def test_the_default_runs_settings_are_the_scripts():
    (default, _) = run.Question("default_run").runs.values()
    options = model_batchnorm.parse_options([])
    assert default.epochs == options.epochs
    assert default.learning_rate == options.learning_rate
    assert default.dtype_policy == options.dtype_policy
    assert default.batch_size == 250
    assert isinstance(runs.optimizer(default, steps=1), keras.optimizers.Adam)


def test_a_run_trains_validates_and_tests_on_the_images_it_names():
    results = runs.make(replace(FLAT, epochs=2), seed=1)
    assert {len(values) for values in results["history"].values()} == {2}
    assert results["parameters"] == 7850
    (x_train, _), (x_test, _) = runs.load(FLAT)
    assert (len(x_train), len(x_test)) == (100, 360)


def test_pooled_images_are_all_of_them_in_another_split():
    whole = replace(FLAT, train_images=None)
    published = runs.load(whole)
    mixed = runs.load(replace(whole, pooled=True))
    assert mixed[1][0].shape == published[1][0].shape
    assert not np.array_equal(mixed[1][0], published[1][0])
    assert sum(x.sum() for x, _ in mixed) == pytest.approx(
        sum(x.sum() for x, _ in published)
    )


def test_a_cosine_decay_ends_at_0():
    decayed = runs.optimizer(runs.Run(cosine_decay=True), steps=10)
    decayed.iterations.assign(10)
    assert float(decayed.learning_rate) == pytest.approx(0)


def test_weight_decay_leaves_gamma_and_beta_out():
    decayed = replace(SMALL, optimizer="SGD", weight_decay=0.5)
    model = runs.build(decayed)
    sgd = runs.optimizer(decayed, steps=1)
    sgd.build(model.trainable_variables)
    left_out = [
        variable.name
        for variable in model.trainable_variables
        if not sgd._use_weight_decay(variable)
    ]
    assert left_out == ["gamma", "beta"] * 3


def test_a_residual_connection_adds_the_input():
    zeros = {"kernel_initializer": "zeros", "padding": "same"}
    convolution = runs.layer("Conv2D", filters=1, kernel_size=3, **zeros)
    images = np.random.default_rng(0).random((2, 28, 28, 1), "float32")
    network = [runs.residual([convolution]), runs.layer("Flatten")]
    model = runs.build(replace(FLAT, network=network))
    before_the_last = keras.Model(model.inputs[0], model.layers[-1].input)
    np.testing.assert_array_equal(before_the_last(images), images.reshape(2, -1))


# What is measured in a run.


class Weights(runs.Measurement):
    """Notes the weights, after other measurements."""

    def on_train_end(self, logs=None):
        self.result = self.model.get_weights()


@pytest.fixture(scope="module")
def alone():
    return runs.make(SMALL, 1, [Weights])


@pytest.fixture(scope="module", params=MEASUREMENTS, ids=lambda kind: kind.__name__)
def measured(request):
    """A run with a measurement."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fine_tuning.TRAINING, "epochs", 1)
        return runs.make(SMALL, 1, [request.param, Weights])


def test_a_measurement_leaves_the_training_as_it_is(measured, alone):
    assert measured["history"] == alone["history"]
    key = Weights.key()
    for mine, expected in zip(measured["measured"][key], alone["measured"][key]):
        np.testing.assert_array_equal(mine, expected)


def test_every_measurement_is_tested_here():
    used = {run.Question(name).measurement for name in run.NAMES} - {None}
    assert used == set(MEASUREMENTS)


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


def test_percentiles_are_those_of_the_last_layers_input():
    result = measure(inside.Percentiles, FLAT)
    (x_train, _), _ = runs.load(FLAT)
    pixel = x_train[80:].reshape(20, -1)[:, result["input"]]
    expected = np.percentile(pixel, [15, 50, 85])
    np.testing.assert_allclose(np.ravel(result["values"]), expected, atol=1e-6)


def test_one_image_at_a_time_in_training_mode_all_get_the_same_answer():
    network = [*FLAT.network, runs.BATCH_NORM]
    made = replace(FLAT, network=network, epochs=9, batch_size=20)
    by_kind = measure(training_mode.TrainingMode, made)
    assert by_kind["sorted"] < by_kind["250"]
    _, (_, labels) = runs.load(FLAT)
    assert by_kind["1"] in np.bincount(labels) / len(labels)


def test_only_the_recipe_that_trains_the_last_layer_keeps_the_old_accuracy(monkeypatch):
    monkeypatch.setitem(fine_tuning.TRAINING, "epochs", 1)
    network = [*FLAT.network, runs.layer("Dense", units=16), runs.BATCH_NORM]
    made = replace(FLAT, network=network, epochs=5, batch_size=20)
    results = runs.make(made, 1, [fine_tuning.FineTuning])
    (tuned,) = results["measured"].values()
    before = results["history"]["test_accuracy"][-1]
    kept = [recipe for recipe, of in tuned.items() if of["KMNIST"] == before]
    assert kept == ["freeze_the_body"]


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
    found = {
        ("a",): {
            n: line_of(FLAT, n, value) for n, value in enumerate([0.95, 0.97, 0.96])
        },
        ("b",): {
            n: line_of(FLAT, n, value) for n, value in enumerate([0.94, 0.93, 0.96])
        },
    }
    test = tables.after(found, "test_accuracy")
    assert tables.difference(test["a"], test["b"]) == (
        "+0.017 (-0.035 to +0.068), above with 2 of 3 seeds"
    )


def test_a_difference_with_a_missing_value_is_not_given():
    found = {("a",): {1: line_of(FLAT, 1, None)}, ("b",): {1: line_of(FLAT, 1)}}
    test = tables.after(found, "test_accuracy")
    assert tables.difference(test["a"], test["b"]).startswith("+nan")
    assert tables.mean(test["a"]) == "nan"


def test_an_interval_that_ends_beside_0_shows_its_side():
    assert tables.end(-0.0002) == "-0.0002"


def test_failed_seeds_are_counted():
    found = {("a", 1): {1: line_of(FLAT, 1, 0.9), 2: line_of(FLAT, 2, 0.1)}}
    grid = tables.grid(tables.after(found, "test_accuracy"), "row")
    assert grid.endswith("| 1 | 0.900, 0.100 (1 of 2 failed) |")


# The command.


@pytest.fixture
def question(monkeypatch):
    """A question with networks that train in a moment."""
    build = runs.build
    monkeypatch.setattr(runs, "build", lambda _: build(FLAT))
    return run.Question("bias", small=True)


def test_a_second_call_changes_no_file(question, tmp_path):
    run.answer([question], tmp_path)
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    run.answer([question], tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_a_run_measures_what_other_questions_ask_of_a_shorter_one(
    monkeypatch, tmp_path
):
    longer, shorter = run.Question("bias"), run.Question("dead_units")
    longer.runs, shorter.runs = {("a",): SMALL}, {("a",): replace(SMALL, epochs=1)}
    longer.seeds = shorter.seeds = [1]
    monkeypatch.setattr(run, "write_report", lambda *_: None)
    run.answer([longer, shorter], tmp_path)
    (line,) = runs.read(tmp_path / runs.RESULTS)
    assert list(line["measured"]) == [dead_units.DeadUnits.key()]


def test_a_line_names_the_commit_and_the_machine(question, tmp_path):
    run.answer([question], tmp_path)
    line = runs.read(tmp_path / runs.RESULTS)[0]
    assert line["commit"] == runs.commit()
    assert line["machine"] == runs.machine()


def test_numbers_are_kept_with_five_digits_and_nan_as_null():
    result = {1: (np.float32(1 / 3), float("nan"), np.arange(2))}
    assert runs.rounded(result) == {"1": [0.33333, None, [0, 1]]}


def test_ctrl_c_keeps_what_is_made(question, tmp_path, monkeypatch):
    made, write = [], runs.write

    def interrupted(*arguments):
        if made:
            raise KeyboardInterrupt
        made.append(write(*arguments))

    monkeypatch.setattr(runs, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.answer([question], tmp_path)
    assert len(runs.read(tmp_path / runs.RESULTS)) == 1
