"""The script as its users run it, by main(); test_process.py has what needs a process."""

import ast
import os
import re
import resource
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest
import tensorflow as tf
from keras import layers

import model_batchnorm
from conftest import ROOT, SCRIPT

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")
SMALL = "--dataset digits --train-images 60 --epochs 1 --batch-size 48"
README = (ROOT / "README.md").read_text("utf-8")
RESULT = r"Test loss: \d+\.\d{4} / Test accuracy: [01]\.\d{4}"


def main(options=""):
    """Run the script on a few digits for an epoch, unless the options say otherwise."""
    return model_batchnorm.main([*SMALL.split(), *options.split()])


def result(text):
    """Return the last result line of what the script has printed."""
    return re.findall(RESULT, text)[-1]


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    """A network that takes no time to trace: a small one, which runs eagerly.

    The script's own, as it runs for users, is what test_process.py and CI train.
    """

    def build_model(input_shape, num_classes, batch_norm=True, momentum=0.9):
        norm = [layers.BatchNormalization(momentum=momentum)] if batch_norm else []
        output = layers.Dense(num_classes, activation="softmax", dtype="float32")
        return keras.Sequential(
            [keras.Input(input_shape), layers.MaxPooling2D(4), *norm]
            + [layers.Flatten(), output]
        )

    monkeypatch.setattr(model_batchnorm, "build_model", build_model)
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def norms(model):
    return [
        layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)
    ]


# The plain run.


def test_the_same_seed_gives_the_same_result(capsys):
    main("--seed 7")
    first = capsys.readouterr().out
    main("--seed 7")
    assert result(capsys.readouterr().out) == result(first)


def test_another_seed_gives_another_result(capsys):
    main("--seed 7")
    first = capsys.readouterr().out
    main("--seed 8")
    assert result(capsys.readouterr().out) != result(first)


def test_the_options_reach_the_training(monkeypatch):
    called = {}

    def train(model, x_train, y_train, **options):
        called.update(options, model=model, images=len(x_train))
        raise KeyboardInterrupt

    monkeypatch.setattr(model_batchnorm, "train", train)
    with pytest.raises(KeyboardInterrupt):
        main(
            "--train-images 700 --epochs 4 --batch-size 300 --learning-rate 0.5"
            " --validation-split 0 --momentum 0.3"
        )
    assert called["images"] == 700
    assert called["epochs"] == 4
    assert called["batch_size"] == 300
    assert called["optimizer"].learning_rate == 0.5
    assert called["validation_split"] == 0
    assert [layer.momentum for layer in norms(called["model"])] == [0.3]


def test_no_batch_norm_leaves_the_layers_out():
    main("--no-batch-norm --save model.keras")
    assert not norms(keras.saving.load_model("model.keras"))


def test_a_batch_size_above_the_number_of_images_is_told_as_what_it_is(capsys):
    main("--batch-size 5000")
    assert "batch size 48, 1 steps an epoch" in capsys.readouterr().out


def test_averages_that_do_not_settle_are_warned_of(caplog):
    main("--batch-size 2")
    assert "After 24 steps with momentum 0.9" in caplog.text


def test_averages_are_not_warned_of_where_there_are_none(caplog):
    main("--no-batch-norm")
    assert not caplog.messages


def test_compare_ends_with_both_results_under_one_another(capsys):
    main("--compare")
    output = capsys.readouterr().out
    results = re.findall(f"^({RESULT})$", output, re.MULTILINE)
    assert output.endswith(f"\nwith    {results[0]}\nwithout {results[1]}\n")


def test_compare_trains_each_network_as_if_it_were_alone(capsys):
    main("--no-batch-norm")
    alone = capsys.readouterr().out
    main("--compare")
    assert result(capsys.readouterr().out) == result(alone)


def test_without_kmnist_the_result_says_that_it_is_of_digits(capsys):
    model_batchnorm.main(["--train-images", "60", "--epochs", "1"])
    assert capsys.readouterr().out.endswith(" (digits, not KMNIST)\n")


def test_digits_that_were_asked_for_need_no_remark(capsys):
    main()
    assert re.search(f"{RESULT}$", capsys.readouterr().out)


# Called from a notebook or a program.


def test_main_with_a_list_ignores_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert main() == 0


def test_it_trains_in_a_thread():
    with ThreadPoolExecutor() as pool:
        assert pool.submit(main).result() == 0


@pytest.fixture
def other_settings():
    """Keras settings of a user that are not Keras' own."""
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_image_data_format("channels_first")


def test_keras_settings_are_afterwards_what_they_were(other_settings):
    main("--dtype-policy mixed_float16")
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.image_data_format() == "channels_first"


def test_the_users_settings_do_not_reach_the_network(other_settings):
    main("--save model.keras")
    pooling = keras.saving.load_model("model.keras").layers[0]
    assert pooling.data_format == "channels_last"
    assert pooling.dtype_policy.name == "float32"


def test_the_users_settings_do_not_reach_the_training(request, capsys):
    main()
    expected = result(capsys.readouterr().out)
    request.getfixturevalue("other_settings")
    main()
    assert result(capsys.readouterr().out) == expected


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_in_it_and_answers_in_float32(policy):
    main(f"--dtype-policy {policy} --save model.keras")
    model = keras.saving.load_model("model.keras")
    assert model.layers[0].dtype_policy.name == policy
    assert model.outputs[0].dtype == "float32"


def test_mixed_float16_scales_the_loss(monkeypatch):
    models, evaluate = [], keras.Sequential.evaluate

    def noted(model, *args, **kwargs):
        models.append(model)
        return evaluate(model, *args, **kwargs)

    monkeypatch.setattr(keras.Sequential, "evaluate", noted)
    main("--dtype-policy mixed_float16")
    assert isinstance(models[0].optimizer, keras.optimizers.LossScaleOptimizer)


# Options.


@pytest.fixture
def odd_targets():
    os.mkdir("folder.keras")
    os.mkfifo("pipe.keras")
    os.symlink("/dev/null", "device.keras")


@pytest.mark.parametrize(
    "options",
    [
        "--epoch5 1",
        "--dataset k49",
        "--dtype-policy float64",
        "--epochs 0",
        "--epochs 1.5",
        "--epochs nan",
        "--train-images 19",
        "--batch-size 1",
        "--learning-rate 0",
        "--learning-rate nan",
        "--learning-rate inf",
        "--validation-split 0.91",
        "--validation-split nan",
        "--validation-split 1e-17",
        "--momentum 1",
        "--momentum -0.1",
        "--seed -1",
        "--seed 4294967296",
        "--save model.h5",
        "--save no/model.keras",
        "--save folder.keras",
        "--save pipe.keras",
        "--save device.keras",
        f"--save {'too_long' * 40}.keras",
        "--plot curves",
        "--no-batch-norm --compare",
    ],
)
def test_refused_before_any_data_is_loaded(monkeypatch, capsys, odd_targets, options):
    monkeypatch.setattr(model_batchnorm, "load_data", pytest.fail)
    with pytest.raises(SystemExit, match="^2$"):
        main(f"--plot new.png {options}")
    assert options.split()[0] in capsys.readouterr().err.splitlines()[-1]
    assert sorted(os.listdir()) == ["device.keras", "folder.keras", "pipe.keras"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may write what is read-only",
)
def test_a_read_only_file_is_refused(capsys):
    open("old.keras", "w").close()
    os.chmod("old.keras", 0o400)
    with pytest.raises(SystemExit, match="^2$"):
        main("--save old.keras")
    assert "old.keras cannot be written" in capsys.readouterr().err


@pytest.fixture
def help_text(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="^0$"):
        main("--help")
    return capsys.readouterr().out


def test_help_fits_80_columns(help_text):
    assert max(map(len, help_text.splitlines())) <= 80


def test_help_names_no_default_that_is_none(help_text):
    assert "None" not in help_text


def test_help_and_readme_know_the_same_options(help_text):
    in_readme = re.findall(r"^\| `(--[a-z-]+)", README, re.MULTILINE)
    in_help = re.findall(r"^  (--[a-z-]+)", help_text, re.MULTILINE)
    assert sorted(in_readme) == sorted(in_help)
    assert len(in_help) == 13


TRY_IT = re.findall("^- `(python .*?)`", README, re.MULTILINE)


def test_the_readme_has_five_commands_to_try():
    assert len(TRY_IT) == 5


@pytest.mark.parametrize("command", TRY_IT)
def test_each_of_the_readmes_commands_to_try_runs(command, capsys):
    python, script, *options = command.split()
    assert (python, script) == ("python", SCRIPT.name)
    few = ["--dataset", "digits", "--train-images", "20", "--epochs", "1"]
    assert model_batchnorm.main([*options, *few]) == 0
    assert re.search(f"{RESULT}$", capsys.readouterr().out)


def test_the_scripts_own_requirements_are_those_of_the_file():
    block = re.search(
        r"^# dependencies = (\[.*?^# \])", SCRIPT.read_text(), re.M | re.S
    )
    in_script = ast.literal_eval(block[1].replace("#", ""))
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert in_script == [line for line in lines if not line.startswith("#")]


# Files.


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--save", "a.keras"),
        ("--plot", "a.png"),
        ("--plot", "a.svg"),
        ("--plot", "a.pdf"),
    ],
)
def test_a_file_is_written_over_an_earlier_one(option, name):
    with open(name, "w") as file:
        file.write("earlier")
    assert main(f"{option} {name}") == 0
    assert os.path.getsize(name) > 7
    assert os.listdir() == [name]


@pytest.mark.skipif(os.name == "nt", reason="has no such modes")
def test_a_file_that_is_written_over_keeps_its_mode():
    open("model.keras", "w").close()
    os.chmod("model.keras", 0o600)
    main("--save model.keras")
    assert os.stat("model.keras").st_mode & 0o777 == 0o600


def test_a_link_is_written_through():
    os.mkdir("elsewhere")
    os.symlink("elsewhere/target", "a.keras")
    assert main("--save a.keras") == 0
    assert os.path.islink("a.keras")
    assert os.listdir("elsewhere") == ["target"]


def test_the_plot_shows_both_networks(tmp_path):
    main("--compare --plot curves.svg")
    drawn = (tmp_path / "curves.svg").read_text()
    for network in ("with", "without"):  # matplotlib notes a text beside its outlines
        assert f"<!-- val_accuracy, {network} -->" in drawn


def test_the_plot_has_no_entry_for_what_was_not_measured(tmp_path):
    main("--validation-split 0 --plot curves.svg")
    drawn = (tmp_path / "curves.svg").read_text()
    assert "<!-- accuracy, with -->" in drawn
    assert "val_" not in drawn


def test_with_compare_the_network_with_the_layers_is_saved():
    main("--compare --save model.keras")
    assert norms(keras.saving.load_model("model.keras"))


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_warnings_that_are_errors_do_not_lose_the_network(monkeypatch):
    save = keras.Sequential.save

    def save_with_a_warning(model, path):  # as Keras' own does with some versions
        save(model, path)
        warnings.warn("It is deprecated.", DeprecationWarning, stacklevel=1)

    monkeypatch.setattr(keras.Sequential, "save", save_with_a_warning)
    assert main("--save model.keras") == 0
    assert os.listdir() == ["model.keras"]


@pytest.fixture
def full_disk():
    """A disk on which a plot, of 60 kB, has no place any more, and the network has."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, unlimited[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def test_on_a_full_disk_an_earlier_file_stays_as_it_was(full_disk, tmp_path):
    (tmp_path / "curves.png").write_text("earlier")
    main("--plot curves.png")
    assert (tmp_path / "curves.png").read_text() == "earlier"
    assert os.listdir() == ["curves.png"]


def test_on_a_full_disk_the_other_file_is_written(full_disk):
    main("--plot curves.png --save model.keras")
    assert os.listdir() == ["model.keras"]


def test_a_full_disk_is_one_message_after_the_result(full_disk, capsys, caplog):
    assert main("--batch-size 48 --momentum 0 --plot curves.png") == 1
    assert re.search(f"{RESULT}$", capsys.readouterr().out)
    (message,) = caplog.messages
    assert message.startswith("curves.png could not be written: [Errno 27]")


def test_a_plot_that_fails_does_not_keep_the_network_from_being_saved(
    monkeypatch, caplog
):
    def fail(models):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(model_batchnorm, "plot", fail)
    assert main("--save model.keras --plot curves.png") == 1
    assert "curves.png could not be written: no fonts" in caplog.text
    assert os.listdir() == ["model.keras"]


# Ctrl-C.


def test_an_interrupt_in_the_second_network_keeps_what_the_first_has_left(monkeypatch):
    train = model_batchnorm.train

    def interrupted_without_the_layers(model, *args, **kwargs):
        if not norms(model):
            raise KeyboardInterrupt
        return train(model, *args, **kwargs)

    monkeypatch.setattr(model_batchnorm, "train", interrupted_without_the_layers)
    with pytest.raises(KeyboardInterrupt):
        main("--compare --save model.keras --plot curves.png")
    assert sorted(os.listdir()) == ["curves.png", "model.keras"]


def test_an_interrupt_before_an_epoch_is_finished_leaves_everything_as_it_was(
    monkeypatch, capsys, tmp_path
):
    train = model_batchnorm.train

    def press(batch, logs):
        raise KeyboardInterrupt

    def interrupted(*args, **options):
        ctrl_c = keras.callbacks.LambdaCallback(on_train_batch_end=press)
        return train(*args, callbacks=[ctrl_c], **options)

    monkeypatch.setattr(model_batchnorm, "train", interrupted)
    (tmp_path / "model.keras").write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        main("--save model.keras --plot curves.png")
    assert "Test accuracy" not in capsys.readouterr().out
    assert (tmp_path / "model.keras").read_text() == "earlier"
    assert os.listdir() == ["model.keras"]
