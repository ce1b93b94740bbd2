"""The experiments: what is measured is what is said, and every run is made once."""

import copy
import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

import model_batchnorm
import run
import runs
import speed
import tables
from conftest import ROOT

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


def test_what_another_question_measures_in_a_run_is_measured_too(question):
    other = copy.copy(question)
    other.measurements = {"Nothing": runs.Measurement}
    left = run.left_to_make([question], [question, other], {})
    assert left == [(TINY, 1, {"Nothing": runs.Measurement})]


def test_no_two_measurements_have_the_same_name():
    kinds = {
        measurement
        for question in map(run.Question, run.NAMES)
        for measurement in question.measurements.values()
    }
    assert len({kind.__name__ for kind in kinds}) == len(kinds)


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
    question = run.Question(name)
    made = min(map(len, question.find(committed).values()))
    seeds = min(seeds, made)
    first = {key: line for key, line in committed.items() if key[1] <= seeds}
    report = question.report(first)
    if report != run.UNMADE and "| seeds |" in report:
        assert set(re.findall(r"\| (\d+) \|$", report, re.MULTILINE)) == {str(seeds)}


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


def test_failed_seeds_are_shown_and_counted():
    shown = tables.grid(
        found(**{"with, 1": {1: 0.9, 2: 0.1}}), [1], ["with"], "learning rate"
    )
    assert "0.900, 0.100 (1 of 2 failed)" in shown


def test_the_default_run_is_the_scripts():
    network = runs.build(runs.Run())
    script = model_batchnorm.build_model((28, 28, 1), 10)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert [kind for kind in kinds if kind != "ReLU"] == [
        type(layer).__name__ for layer in script.layers
    ]
    assert [weight.shape for weight in network.weights] == [
        weight.shape for weight in script.weights
    ]


def test_the_tables_of_the_readme_are_those_of_the_runs(committed):
    text = filled = (ROOT / "experiments" / "README.md").read_text("utf-8")
    for name in run.NAMES:
        filled = run.fill(filled, name, run.Question(name).report(committed))
    measured = json.loads((ROOT / "experiments" / "speed.json").read_text("utf-8"))
    assert run.fill(filled, "speed", speed.report(measured)) == text


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


def test_a_number_of_numpy_is_written_as_json():
    assert json.dumps(runs.rounded({"share": np.float32(0.5)})) == '{"share": 0.5}'


def test_a_run_without_a_number_is_written_as_json(tmp_path, monkeypatch):
    results = runs.Results(tmp_path / "results.jsonl")
    made = {"history": {"loss": [float("nan")]}, "measured": {}, "parameters": 1}
    monkeypatch.setattr(runs, "make", lambda *_: made)
    results.make(TINY, 1, {})
    line = json.loads(results.file.read_text(), parse_constant=pytest.fail)
    assert line["history"]["loss"] == [None]
