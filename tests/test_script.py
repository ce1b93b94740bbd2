"""The script as its users run it: by main(), or as a process where that matters."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import keras
import pytest
import tensorflow as tf
from keras import layers

import model_batchnorm
from conftest import ROOT, SCRIPT, norms

SMALL = "--dataset digits --train-images 60 --epochs 1 --batch-size 48"
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


def main(options=""):
    """Run the script on a few digits for an epoch, unless the options say otherwise."""
    return model_batchnorm.main([*SMALL.split(), *options.split()])


def lines_of(options=""):
    """Return what main() prints, by lines."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        main(options)
    return output.getvalue().splitlines()


# The plain run.


@pytest.fixture(scope="module")
def smoke_run():
    """What the README's smoke test prints."""
    command = [sys.executable, SCRIPT, "--dataset", "digits", "--epochs", "3"]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def test_the_smoke_run_says_what_it_trains_on(smoke_run):
    assert smoke_run.startswith(
        "digits: 1149 training, 288 validation and 360 test images\n"
        "batch size 17, 68 steps per epoch\n"
        "Training with Batch Normalization\n"
    )


def test_the_smoke_run_ends_with_its_result(smoke_run):
    assert re.search(rf"^{RESULT}\n\Z", smoke_run, re.MULTILINE)


def test_the_smoke_run_learns(smoke_run):
    assert float(re.search(RESULT, smoke_run)[1]) > 0.93


def test_the_options_reach_the_training():
    main(
        "--train-images 100 --epochs 2 --batch-size 30 --learning-rate 0.5"
        " --momentum 0.3 --dtype-policy mixed_bfloat16 --save model.keras"
    )
    model = keras.saving.load_model("model.keras")
    assert model.optimizer.iterations == 2 * 3  # 80 of 100 images, in batches of 30
    assert model.optimizer.learning_rate == 0.5
    assert [layer.momentum for layer in norms(model)] == [0.3]
    assert model.layers[0].dtype_policy.name == "mixed_bfloat16"


def test_training_uses_the_fused_kernel(monkeypatch):
    kernel = mock.Mock(wraps=tf.compat.v1.nn.fused_batch_norm)
    monkeypatch.setattr(tf.compat.v1.nn, "fused_batch_norm", kernel)
    main()
    kernel.assert_called()


# With the layers, without them, and both.


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The lines and the network of a run without the layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("without"))
        lines = lines_of("--no-batch-norm --save model.keras")
        return lines, keras.saving.load_model("model.keras")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The lines, the network and the plot of a run of both networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("compared"))
        lines = lines_of("--compare --save model.keras --plot curves.svg")
        plot = Path("curves.svg").read_text("utf-8")
        return lines, keras.saving.load_model("model.keras"), plot


def test_no_batch_norm_leaves_the_layers_out(without):
    _, model = without
    assert norms(model) == []


def test_without_the_layers_there_is_no_warning_about_the_momentum(without):
    lines, _ = without
    assert not [line for line in lines if "momentum" in line]


def test_too_few_steps_for_the_momentum_give_a_warning(compared):
    lines, _, _ = compared
    assert lines[2].startswith("Too few steps for this momentum: ")


def test_the_same_seed_gives_the_same_result(without):
    assert lines_of("--no-batch-norm")[-1] == without[0][-1]


def test_another_seed_gives_another_result(without):
    assert lines_of("--no-batch-norm --seed 8")[-1] != without[0][-1]


def test_compare_ends_with_both_results_under_one_another(compared):
    lines, _, _ = compared
    results = [line for line in lines if re.fullmatch(RESULT, line)]
    assert lines[-3:] == ["", f"with    {results[0]}", f"without {results[1]}"]


def test_compare_trains_the_second_network_as_if_it_were_alone(compared, without):
    assert compared[0][-1] == f"without {without[0][-1]}"


def test_compare_saves_the_network_with_the_layers(compared):
    _, model, _ = compared
    assert norms(model)


def test_the_plot_shows_both_networks(compared):
    _, _, plot = compared
    for network in ("with", "without"):  # matplotlib notes a text beside its outlines
        assert f"<!-- val_accuracy, {network} -->" in plot
        assert f"<!-- val_loss, {network} -->" in plot


# Without KMNIST.


@pytest.mark.filterwarnings("ignore:A network error occurred")  # as OpenML is tried
def test_without_kmnist_it_trains_on_digits_and_the_result_says_so(capsys):
    assert model_batchnorm.main(SMALL.split()[2:]) == 0
    assert re.search(rf"\n{RESULT}\n\Z", capsys.readouterr().out)


def test_the_result_of_kmnist_needs_no_remark(monkeypatch):
    monkeypatch.setattr(model_batchnorm, "load_kmnist", model_batchnorm.load_digits)
    assert re.fullmatch(KMNIST_RESULT, lines_of("--dataset kmnist")[-1])


@pytest.mark.filterwarnings("ignore:A network error occurred")
def test_asking_for_kmnist_without_a_network_ends_with_a_message():
    # sys.exit() prints a text, and ends with status 1.
    message = (
        "^OpenML: URLError: .*refused.*\n--dataset digits needs no network connection.$"
    )
    with pytest.raises(SystemExit, match=message):
        main("--dataset kmnist")


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--epoch5 1", "unrecognized arguments: --epoch5"),
        ("--epochs 0", "--epochs: 0 is less than 1"),
        ("--epochs 1.5", "--epochs: invalid number value: '1.5'"),
        ("--momentum 1", "--momentum: 1 is more than 0.999999"),
        ("--save model.h5", "--save: model.h5 does not end in .keras"),
        ("--save no/model.keras", "--save: no/model.keras cannot be written"),
        ("--no-batch-norm --compare", "--compare: not allowed with argument --no-b"),
    ],
)
def test_a_bad_option_is_refused_before_any_data_is_loaded(
    monkeypatch, capsys, options, message
):
    monkeypatch.setattr(model_batchnorm, "load_data", pytest.fail)
    with pytest.raises(SystemExit, match="^2$"):
        main(options)
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_read_only_file_is_refused(capsys):
    open("old.keras", "w").close()
    os.chmod("old.keras", 0o400)
    if os.access("old.keras", os.W_OK):
        pytest.skip("root may write what is read-only")
    with pytest.raises(SystemExit, match="^2$"):
        main("--save old.keras")
    assert "--save: old.keras cannot be written" in capsys.readouterr().err


def test_help_fits_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="^0$"):
        main("--help")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert max(map(len, lines)) <= 80


def test_the_scripts_own_requirements_are_those_of_the_file():
    in_script = re.findall(r'^#     "(.+)",$', SCRIPT.read_text("utf-8"), re.MULTILINE)
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert in_script == [line for line in lines if not line.startswith("#")]


# Ctrl-C.


@pytest.fixture(scope="module", params=[1, 2])
def stopped(request, tmp_path_factory):
    """A run of both networks that gets a Ctrl-C in this epoch of the first one."""
    pty = pytest.importorskip("pty")  # Windows has none
    folder = tmp_path_factory.mktemp("stopped")
    options = (
        "--dataset digits --train-images 700 --batch-size 2"  # 280 steps per epoch
    )
    files = "--save model.keras --plot curves.png"
    command = [sys.executable, SCRIPT, "--compare", *options.split(), *files.split()]
    terminal, end = pty.openpty()  # to a terminal Keras writes each step
    process = subprocess.Popen(command, stdout=end, stderr=end, cwd=folder)
    os.close(end)
    step_shown = re.compile(rb"Epoch %d/25.* accuracy" % request.param, re.DOTALL)
    shown, pressed = b"", False
    with contextlib.suppress(OSError):  # so Linux says that the process has ended
        while chunk := os.read(terminal, 4096):
            shown += chunk
            if not pressed and step_shown.search(shown):
                process.send_signal(signal.SIGINT)
                pressed = True
    os.close(terminal)
    text = shown.decode().replace("\r\n", "\n")
    return request.param, text, process.wait(), folder


def test_ctrl_c_ends_with_a_result_that_says_so_and_status_130(stopped):
    _, shown, status, _ = stopped
    assert re.search(rf"\n{STOPPED_RESULT}\n\Z", shown)
    assert "Traceback" not in shown
    assert status == 130


def test_ctrl_c_does_not_wait_for_the_end_of_the_epoch(stopped):
    epoch, _, _, folder = stopped
    model = keras.saving.load_model(folder / "model.keras")
    assert 280 * (epoch - 1) < model.optimizer.iterations < 280 * epoch


def test_ctrl_c_skips_the_second_network(stopped):
    _, shown, _, _ = stopped
    assert "Training without" not in shown


def test_after_ctrl_c_the_network_is_saved_and_plotted(stopped):
    *_, folder = stopped
    assert sorted(os.listdir(folder)) == ["curves.png", "model.keras"]


def test_ctrl_c_during_the_test_still_ends_with_a_result_and_saves(monkeypatch, capsys):
    evaluate, calls = keras.Sequential.evaluate, []

    def evaluate_and_press_ctrl_c(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:  # the first call validates
            signal.raise_signal(signal.SIGINT)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(keras.Sequential, "evaluate", evaluate_and_press_ctrl_c)
    assert main("--save model.keras") == 130
    assert re.search(rf"\n{STOPPED_RESULT}\n\Z", capsys.readouterr().out)
    assert os.listdir() == ["model.keras"]


def test_the_previous_handler_gets_the_second_ctrl_c():
    handler = signal.getsignal(signal.SIGINT)
    with model_batchnorm.StopOnCtrlC():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == handler


def test_the_previous_handler_of_ctrl_c_comes_back():
    handler = signal.getsignal(signal.SIGINT)
    with model_batchnorm.StopOnCtrlC():
        assert signal.getsignal(signal.SIGINT) != handler
    assert signal.getsignal(signal.SIGINT) == handler


def test_main_runs_in_a_thread():
    with ThreadPoolExecutor() as pool:
        assert pool.submit(main).result() == 0
