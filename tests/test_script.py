"""The script as its users run it: by its options, by main(), or as a process of its own."""

import contextlib
import importlib.util
import inspect
import io
import os
import re
import runpy
import signal
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
import typer
from extra_keras_datasets import kmnist
from keras import layers

import model_batchnorm
from conftest import ROOT, SCRIPT
from runs import norms

KMNIST_RESULT = r"Test loss: \d+\.\d{4} / Test accuracy: ([01]\.\d{4})"
RESULT = rf"{KMNIST_RESULT} \(digits, not KMNIST\)"
STOPPED_RESULT = rf"{RESULT} \(stopped by Ctrl-C\)"


@pytest.fixture(scope="module", autouse=True)
def small_network():
    """A network that is soon traced. The processes below train the script's own."""

    def build_model(input_shape, num_classes, batch_norm=True, momentum=0.9):
        norm = [layers.BatchNormalization(momentum=momentum)] if batch_norm else []
        output = layers.Dense(num_classes, activation="softmax", dtype="float32")
        return keras.Sequential(
            [keras.Input(input_shape), layers.MaxPooling2D(4), *norm]
            + [layers.Flatten(), output]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_batchnorm, "build_model", build_model)
        yield


@pytest.fixture(scope="module", autouse=True)
def pythons_own_ctrl_c():
    """A shell that starts the tests in the background lets Python ignore Ctrl-C."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def main(**options):
    """Run the script on a few digits for an epoch, unless the options say otherwise."""
    small = {"dataset": "digits", "train_images": 60, "epochs": 1, "batch_size": 48}
    model_batchnorm.main(**(small | options))


def run(*options, **environment):
    """Run the script in a process of its own; return what it prints."""
    return subprocess.run(
        [sys.executable, SCRIPT, *options],
        env=os.environ | environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout


# The plain run.


@pytest.fixture(scope="module")
def smoke_run():
    """What the README's smoke test prints."""
    return run("--dataset", "digits", "--epochs", "3")


def test_the_smoke_run_says_what_it_trains_on(smoke_run):
    assert smoke_run.startswith(
        "digits: 1149 training, 288 validation and 360 test images\n"
        "batch size 17, 68 steps per epoch\n"
        "Training with Batch Normalization\n"
    )


def test_the_smoke_run_learns_and_ends_with_its_result(smoke_run):
    result = smoke_run.splitlines()[-1]
    assert float(re.fullmatch(RESULT, result)[1]) > 0.93


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed")
def test_with_jax_it_learns_too():
    printed = run("--dataset", "digits", "--epochs", "1", KERAS_BACKEND="jax")
    assert float(re.search(RESULT, printed)[1]) > 0.8


def test_before_keras_is_imported_tensorflow_is_told_to_be_quiet_and_fast(monkeypatch):
    for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "keras", None)  # importing it fails
    with pytest.raises(ImportError, match="keras"):
        runpy.run_path(str(SCRIPT))
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


# What is trained, on which images.


@pytest.fixture
def fits(monkeypatch):
    """The models, images, labels and initial weights that fit() gets, of each call."""
    calls = []
    fit = keras.Sequential.fit

    def noted(model, x, y, **options):
        calls.append((model, x, y, model.get_weights()))
        return fit(model, x, y, **options)

    monkeypatch.setattr(keras.Sequential, "fit", noted)
    return calls


@pytest.fixture
def loader(monkeypatch):
    """KMNIST's images and labels, as if the package had loaded them."""
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (90, 28, 28), "uint8")
    y = random.integers(0, 10, 90, "uint8")
    monkeypatch.setattr(kmnist, "load_data", lambda: ((x, y), (x[:20], y[:20])))
    return x, y


def test_by_default_it_trains_on_kmnist(loader, capsys):
    model_batchnorm.main(epochs=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "kmnist: 72 training, 18 validation and 20 test images"
    assert re.fullmatch(KMNIST_RESULT, lines[-1])


def test_train_images_takes_the_first_images_with_their_labels(loader, fits):
    x, y = loader
    model_batchnorm.main(epochs=1, train_images=60)
    _, x_train, y_train, _ = fits[0]
    np.testing.assert_array_equal(x_train, model_batchnorm.prepare(x[:60]))
    np.testing.assert_array_equal(y_train, y[:60])


def test_without_kmnist_the_result_says_digits(capsys):
    main(dataset=None)  # there is no network here
    assert re.search(rf"\n{RESULT}\n\Z", capsys.readouterr().out)


def test_the_settings_reach_the_training(fits):
    main(
        train_images=100,
        epochs=2,
        batch_size=30,
        learning_rate=0.5,
        momentum=0.3,
        dtype_policy="mixed_bfloat16",
    )
    model, _, _, _ = fits[0]
    assert model.optimizer.iterations == 2 * 3  # 80 of 100 images, in batches of 30
    assert model.optimizer.learning_rate == 0.5
    assert [layer.momentum for layer in norms(model)] == [0.3]
    assert model.layers[0].dtype_policy.name == "mixed_bfloat16"


def test_training_uses_the_fused_kernel(monkeypatch):
    kernel = mock.Mock(wraps=tf.compat.v1.nn.fused_batch_norm)
    monkeypatch.setattr(tf.compat.v1.nn, "fused_batch_norm", kernel)
    main()
    kernel.assert_called()


def test_the_same_seed_gives_the_same_result(capsys):
    main(seed=8)
    first = capsys.readouterr().out
    main(seed=8)
    assert capsys.readouterr().out.splitlines()[-1] == first.splitlines()[-1]


def test_both_networks_start_with_the_weights_of_the_seed(fits):
    main(compare=True, seed=8)
    for (_, _, _, weights), batch_norm in zip(fits, (True, False), strict=True):
        keras.utils.set_random_seed(8)
        model = model_batchnorm.build_model((28, 28, 1), 10, batch_norm)
        np.testing.assert_equal(weights, model.get_weights())


# The warning.


def test_the_first_exercise_gets_its_warning(capsys):
    # --dataset digits --epochs 3 --momentum 0.99
    model_batchnorm.describe("digits", 1437, 360, 17, epochs=3, momentum=0.99)
    assert "\nToo few steps for this momentum: " in capsys.readouterr().out


@pytest.mark.parametrize("num_images", [1437, 60_000])
def test_the_default_batch_size_needs_no_warning_after_one_epoch(num_images, capsys):
    batch_size = model_batchnorm.default_batch_size(num_images)
    model_batchnorm.describe("", num_images, 360, batch_size, epochs=1, momentum=0.9)
    assert "Too few steps" not in capsys.readouterr().out


# Both networks, a plot and a saved network.


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder of a run of both networks, called from Python, and what it prints."""
    folder = tmp_path_factory.mktemp("compared")
    save, plot = str(folder / "model.keras"), str(folder / "curves.svg")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        main(compare=True, save=save, plot=plot)
    return folder, output.getvalue()


def test_compare_ends_with_both_results_under_one_another(compared):
    _, printed = compared
    lines = printed.splitlines()
    results = [line for line in lines if re.fullmatch(RESULT, line)]
    assert lines[-3:] == ["", f"with    {results[0]}", f"without {results[1]}"]


def test_compare_saves_the_network_with_the_layers(compared):
    folder, _ = compared
    assert norms(keras.saving.load_model(folder / "model.keras"))


def test_the_plot_shows_both_networks_and_its_title_names_the_data_set(compared):
    folder, _ = compared
    plot = (folder / "curves.svg").read_text("utf-8")
    assert "<!-- trained on digits -->" in plot  # matplotlib notes what a text says
    for network in ("with", "without"):
        assert f"<!-- val_accuracy, {network} -->" in plot
        assert f"<!-- val_loss, {network} -->" in plot


# Options.


@pytest.fixture
def refused(monkeypatch, capsys):
    """A function: run the script, which must refuse these options; return what it says."""
    monkeypatch.setenv("COLUMNS", "200")  # else a message is broken over lines
    monkeypatch.setenv("TERM", "dumb")  # no colors, in CI neither
    monkeypatch.setattr(model_batchnorm, "load_or_exit", pytest.fail)

    def refused(options):
        monkeypatch.setattr(sys, "argv", ["model_batchnorm.py", *options.split()])
        with pytest.raises(SystemExit, match="^2$"):
            typer.run(model_batchnorm.main)
        return capsys.readouterr().err

    return refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--epoch5 1", "--epoch5"),
        ("--epochs 0", "Invalid value for '--epochs': "),
        ("--momentum 1", "Invalid value for '--momentum': "),
        ("--momentum nan", "Invalid value for '--momentum': "),
        ("--learning-rate nan", "Invalid value for '--learning-rate': "),
        ("--save model.h5", "'--save': model.h5 does not end in .keras"),
        ("--save no/model.keras", "'--save': no/model.keras cannot be written"),
        ("--plot curves.gif", "'--plot': curves.gif does not end in .png or .svg"),
    ],
)
def test_a_bad_option_is_refused_before_any_data_is_loaded(refused, options, message):
    assert message in refused(options)


def test_the_commands_options_are_those_of_main(monkeypatch, loader, capsys):
    options = "--epochs 2 --train-images 60 --batch-size 30"
    monkeypatch.setattr(sys, "argv", ["model_batchnorm.py", *options.split()])
    with pytest.raises(SystemExit, match="^0$"):
        typer.run(model_batchnorm.main)
    assert capsys.readouterr().out.startswith(
        "kmnist: 48 training, 12 validation and 20 test images\n"
        "batch size 30, 2 steps per epoch\n"
    )


def test_help_lists_every_option_in_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "argv", ["model_batchnorm.py", "--help"])
    with pytest.raises(SystemExit, match="^0$"):
        typer.run(model_batchnorm.main)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name in inspect.signature(model_batchnorm.main).parameters:
        option = "--" + name.replace("_", "-")
        assert [line for line in lines if f" {option} " in line], option


def test_the_scripts_own_requirements_are_those_of_the_file():
    in_script = re.findall(r'^#     "(.+)",$', SCRIPT.read_text("utf-8"), re.MULTILINE)
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert in_script == [line for line in lines if not line.startswith("#")]


# Ctrl-C.


def press_ctrl_c(*args, **options):
    signal.raise_signal(signal.SIGINT)


class At(keras.callbacks.Callback):
    """Takes an action at these moments of fit(), named as the methods of a callback."""

    def __init__(self, action, *moments):
        super().__init__()
        for moment in moments:
            setattr(self, moment, action)


def add_to_fit(patch, callback):
    """Let the script train with one more callback."""
    train = model_batchnorm.train

    def train_with_it(*args, callbacks, **options):
        return train(*args, callbacks=[*callbacks, callback], **options)

    patch.setattr(model_batchnorm, "train", train_with_it)


@pytest.fixture(
    scope="module", params=["on_epoch_begin", "on_train_batch_end", "on_test_begin"]
)
def stopped(request, tmp_path_factory):
    """A run that gets a Ctrl-C before its first step, in its first epoch, or in validation.

    It would train both networks for three epochs of 24 steps.
    """
    folder = tmp_path_factory.mktemp("stopped")
    save, plot = folder / "model.keras", folder / "curves.png"
    with pytest.MonkeyPatch.context() as patch:
        add_to_fit(patch, At(press_ctrl_c, request.param))
        with contextlib.redirect_stdout(io.StringIO()) as output:
            try:
                main(compare=True, epochs=3, batch_size=2, save=save, plot=plot)
            except SystemExit as end:
                status = end.code
            except KeyboardInterrupt:
                pytest.fail("Ctrl-C was not handled")
    return request.param, status, output.getvalue(), folder


def test_ctrl_c_ends_with_status_130_and_a_result_that_says_so(stopped):
    _, status, printed, _ = stopped
    assert status == 130
    assert re.search(rf"\n{STOPPED_RESULT}\n\Z", printed)


def test_ctrl_c_skips_the_second_network(stopped):
    _, _, printed, _ = stopped
    assert "Training without" not in printed


def test_after_ctrl_c_the_network_is_plotted_and_saved_as_it_is(stopped):
    moment, _, _, folder = stopped
    model = keras.saving.load_model(folder / "model.keras")
    steps = {"on_epoch_begin": 1, "on_train_batch_end": 1, "on_test_begin": 24}
    assert model.optimizer.iterations == steps[moment]
    assert (folder / "curves.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send a Ctrl-C so")
def test_ctrl_c_from_outside_before_the_first_step_ends_with_a_result():
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--dataset", "digits", "--compare"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = ""
    for line in process.stdout:
        printed += line
        if line == "Epoch 1/25\n":  # TensorFlow now traces the network for a second
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert re.search(rf"\n{STOPPED_RESULT}\n\Z", printed)
    assert "Traceback" not in printed


def test_a_second_ctrl_c_ends_the_program_at_once(monkeypatch):
    add_to_fit(monkeypatch, At(press_ctrl_c, "on_train_batch_end", "on_test_begin"))
    with pytest.raises(KeyboardInterrupt):
        main()


@pytest.mark.parametrize("step", ["prepare", "train", "plot_histories"])
def test_outside_of_fit_ctrl_c_ends_the_program_at_once(monkeypatch, step):
    monkeypatch.setattr(model_batchnorm, step, press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        main(plot="curves.png")


def test_ctrl_c_in_the_test_leaves_the_saved_network(monkeypatch):
    evaluate = keras.Sequential.evaluate

    def evaluate_and_press(model, x, *args, **options):
        if len(x) == 360:  # the test images
            press_ctrl_c()
        return evaluate(model, x, *args, **options)

    monkeypatch.setattr(keras.Sequential, "evaluate", evaluate_and_press)
    with pytest.raises(KeyboardInterrupt):
        main(save="model.keras")
    assert norms(keras.saving.load_model("model.keras"))


def test_the_handler_of_ctrl_c_comes_back_if_fit_raises(monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    add_to_fit(monkeypatch, At(mock.Mock(side_effect=OverflowError), "on_test_begin"))
    with pytest.raises(OverflowError):
        main()
    assert signal.getsignal(signal.SIGINT) == handler
