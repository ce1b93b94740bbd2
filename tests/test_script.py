"""The script as its users run it: in this process, and as one of its own where that matters."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import ANY, Mock

import keras
import pytest
from conftest import ROOT, SCRIPT

import model_batchnorm


def main(options=""):
    """Run the script on digits for an epoch, unless the options say otherwise."""
    return model_batchnorm.main(["--dataset", "digits", "--epochs", "1", *options.split()])

@pytest.fixture
def run(monkeypatch):
    """In place of the script's run(): trains nothing, and returns these results."""
    run = Mock(return_value=(None, {
        "history": {"accuracy": [0.6, 0.8, 0.9], "val_accuracy": [0.5, 0.9875, 0.9]},
        "test_loss": 0.25, "test_accuracy": 0.875, "seconds": 1.5, "interrupted": False}))
    monkeypatch.setattr(model_batchnorm, "run", run)
    return run

@pytest.mark.parametrize("options, settings, least", [
    ("--epochs 3", "digits: 1149 training, 288 validation and 360 test images; float32", 0.93),
    ("--epochs 6 --batch-size 287", "batch size 255, 5 steps an epoch, momentum 0.251", 0.96)])
def test_it_prints_its_settings_and_learns_whatever_the_batch_size(options, settings, least):
    command = [sys.executable, SCRIPT, "--dataset", "digits", *options.split()]
    output = subprocess.check_output(command, text=True)
    assert settings in output.partition("Epoch 1/")[0]
    assert float(output.split()[-1]) > least

def test_run_returns_the_model_and_its_results_the_same_for_the_same_seed():
    data = model_batchnorm.load_data("digits")
    options = {"momentum": 0.3, "epochs": 1, "validation_split": 0.5, "batch_size": 80}
    model, results = model_batchnorm.run(data, seed=7, verbose=0, **options)
    _, again = model_batchnorm.run(data, seed=7, verbose=0, **options)
    _, other = model_batchnorm.run(data, seed=8, verbose=0, **options)
    tested = [results["test_loss"], results["test_accuracy"]]
    assert model.evaluate(*data[1], verbose=0) == pytest.approx(tested, abs=1e-4)
    assert model.layers[1].momentum == 0.3 and len(results["history"]["val_accuracy"]) == 1
    assert model.optimizer.iterations == 9  # half of 1,437 images
    assert results["test_loss"] == again["test_loss"] != other["test_loss"]

@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_in_it_and_answers_in_float32(policy):
    main(f"--dtype-policy {policy} --save model.keras")
    model = keras.saving.load_model("model.keras")
    assert model.layers[0].dtype_policy.name == policy
    assert model.outputs[0].dtype == "float32"

def test_compare_prints_a_table_of_both_networks_and_plot_draws_both(run, capsys, tmp_path):
    main("--compare --plot curves.svg")
    *_, head, row, without, last = capsys.readouterr().out.splitlines()
    assert row.split() == ["with", "0.8750", "0.2500", "0.9875", "(2)", "2", "1.50"]
    assert without == row.replace("with   ", "without") and len(row) == len(head) < 80
    assert last == "Test loss: 0.2500 / Test accuracy: 0.8750"
    assert "val_accuracy, without" in (tmp_path / "curves.svg").read_text()

def test_offline_and_in_a_notebook_digits_take_kmnists_place(run, monkeypatch, capsys, caplog):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert model_batchnorm.main([]) == 0
    assert capsys.readouterr().out.endswith(" (digits, not KMNIST)\n")
    assert "Using digits instead" in caplog.text

def test_offline_kmnist_can_be_insisted_on():
    with pytest.raises(SystemExit, match="--dataset digits needs no"):
        main("--dataset kmnist")

def test_it_trains_in_a_thread_and_whatever_keras_json_says():
    keras.config.set_image_data_format("channels_first")
    with ThreadPoolExecutor() as pool:
        assert pool.submit(main).result() == 0

def test_options_reach_the_training(run):
    main("--train-images 700 --validation-split 0 --batch-size 300 --epochs 4 --learning-rate 0.5"
         " --momentum 0.3 --seed 7 --no-batch-norm")
    run.assert_called_once_with(ANY, False, 0.3, 7, epochs=4, batch_size=280, validation_split=0,
                                learning_rate=0.5, verbose=2)
    (x_train, _), _ = run.call_args.args[0]
    assert len(x_train) == 700

@pytest.mark.parametrize("options", [
    "--dataset k49", "--dtype-policy float64", "--epochs 0", "--epochs 1.5", "--train-images 19",
    "--batch-size 1", "--batch-size 2147483648", "--learning-rate 0", "--learning-rate nan",
    "--validation-split 0.91", "--validation-split nan", "--validation-split 1e-17",
    "--momentum 1", "--momentum -0.1", "--seed -1", "--seed 4294967296", "--save model.h5",
    "--save no/model.keras", "--save folder.keras", "--plot curves", "--plot folder.keras/a.svg/",
    "--no-batch-norm --compare", "--epoch5 1"])
def test_refused_before_any_data_is_loaded(monkeypatch, capsys, options):
    os.mkdir("folder.keras")
    monkeypatch.setattr(model_batchnorm, "load_data", pytest.fail)
    with pytest.raises(SystemExit, match="^2$"):
        main(f"--plot new.png {options}")
    assert options.split()[0] in capsys.readouterr().err.splitlines()[-1]
    assert os.listdir() == ["folder.keras"]

def test_help_and_readme_know_the_same_options(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main("--help")
    text = capsys.readouterr().out
    options = re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)
    readme = re.findall(r"^\| `(--[a-z-]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(readme) == sorted(options) and len(options) == 13
    assert "None" not in text and max(map(len, text.splitlines())) <= 80

@pytest.mark.parametrize("option, name", [
    ("--save", "a.keras"), ("--plot", "a.png"), ("--plot", "a.svg"), ("--plot", "a.pdf")])
def test_a_file_is_written_through_a_link_and_over_an_earlier_one(option, name):
    os.symlink("target", name)
    for _ in range(2):
        assert main(f"--train-images 20 {option} {name}") == 0
    assert os.path.islink(name) and os.path.getsize("target") > 10_000

@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("option, name", [("--save", "a.keras"), ("--plot", "a.png")])
def test_a_full_disk_is_told_and_the_result_printed(capsys, caplog, option, name):
    os.symlink("/dev/full", name)
    assert main(f"{option} {name}") == 1
    assert "Test accuracy: " in capsys.readouterr().out.splitlines()[-1]
    assert f"{name} could not be written: " in caplog.text

@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_on_a_process_ends_in_its_result_and_files():
    options = "--dataset digits --batch-size 2 --compare --save model.keras --plot curves.png"
    process = subprocess.Popen(
        [sys.executable, "-u", SCRIPT, *options.split()], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert "Epoch 2/25\n" in process.stdout  # which is read up to there
    time.sleep(0.3)  # amid the steps: at an epoch's start, TensorFlow may crash on an interrupt
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130 and "Traceback" not in errors
    assert float(output.split()[-1]) > 0 and "Training without" not in output
    assert keras.saving.load_model("model.keras") and os.path.exists("curves.png")

def test_the_story_can_be_copied_with_its_imports_and_needs_no_terminal(monkeypatch):
    copied = {}
    exec(SCRIPT.read_text().partition("\ndef run(")[0], copied)
    (x, y), _ = model_batchnorm.load_data("digits")
    model = copied["build_model"]((28, 28, 1), 10, momentum=copied["settled_momentum"](5))
    size = copied["even_batch_size"](1149, 250)
    monkeypatch.setattr(sys, "stdout", Mock(spec=["write", "flush"]))  # no isatty()
    history = copied["train"](model, x, y, epochs=1, batch_size=size).history
    assert history["val_accuracy"][0] > 0.5
