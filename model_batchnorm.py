"""Batch Normalization in Keras: a small convolutional network learns to read KMNIST.

KMNIST contains 70,000 grayscale images, 28 x 28 pixels, of ten cursive Japanese characters.

    python model_batchnorm.py                               # train for 25 epochs
    python model_batchnorm.py --epochs 3 --compare          # again without the layer
    python model_batchnorm.py --epochs 3 --dataset digits   # works offline

With Batch Normalization, validation accuracy is 0.971 on average after the first epoch;
without it, that takes four to six. After 25 epochs, test accuracy is 0.952 ± 0.002 with it and
0.950 ± 0.004 without: the means and standard deviations of ten runs with different seeds.

The layer: Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167
The data: Clanuwat et al. (2018), https://arxiv.org/abs/1812.01718
The network: MachineCurve (2020), "How to use Batch Normalization with Keras?"
"""

from __future__ import annotations  # main() has types from the end of this file

import functools
import math
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

# TensorFlow reads these when it is imported. The first keeps its messages out of the
# progress bars, errors too: set it to 0 to see why a GPU is not found. With the second it
# is faster on older CPUs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import pooch
import requests
import tensorflow as tf
import typer
from extra_keras_datasets import kmnist
from keras import layers
from matplotlib.figure import Figure
from sklearn import datasets, model_selection

VALIDATION_SPLIT = 0.2  # fraction of the training images held out for validation


def prepare(images):
    """Turn uint8 images (n, height, width) into float32 from 0 to 1, with a channel axis."""
    return images[..., np.newaxis].astype("float32") / 255


def build_model(input_shape, num_classes, batch_norm=True, momentum=0.9):
    """Return the network, not yet compiled.

    input_shape is (height, width, channels). The network returns num_classes probabilities
    for each image. batch_norm=False leaves the BatchNormalization layers out. momentum,
    from 0 to less than 1, is the fraction of its old value that a moving average keeps at
    each training step.
    """
    # In training, the layer takes the mean and variance of each channel over the batch: over
    # all its images and all positions in them. (After Dense there are no positions: each of
    # the 256 units is a channel.) It returns
    #     gamma * (x - mean) / sqrt(variance + epsilon) + beta
    # gamma and beta, one of each per channel, start at 1 and 0 and are learned. epsilon,
    # 0.001, prevents a division by zero.
    #
    # In validation, evaluate() and predict(), it uses moving averages of the means and
    # variances instead, so that a prediction does not depend on the other images in the
    # batch. Each training step moves them a little:
    #     average = momentum * average + (1 - momentum) * value of the batch
    # They start at 0 (mean) and 1 (variance). After n steps, a fraction momentum ** n of that
    # remains. Until it is about a thousandth, validation accuracy can be terrible: with
    # momentum 0.9 for 66 steps, a third of an epoch here; with 0.99, Keras' default, for 688.
    #
    # The paper puts the layer between a convolution and its activation, and the convolution
    # then needs no bias. Here it comes after the activation, as in MachineCurve's article, and
    # again after pooling. These two layers bring no gain: do not copy them.
    network = [
        keras.Input(shape=input_shape),  # (28, 28, 1)
        layers.Conv2D(32, kernel_size=3, activation="relu"),  # (26, 26, 32)
        layers.BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),  # (13, 13, 32)
        layers.BatchNormalization(momentum=momentum),  # the article's
        layers.Conv2D(64, kernel_size=3, activation="relu"),  # (11, 11, 64)
        layers.BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),  # (5, 5, 64)
        layers.BatchNormalization(momentum=momentum),  # the article's
        layers.Flatten(),  # (1600,)
        layers.Dense(256, activation="relu"),  # (256,)
        layers.BatchNormalization(momentum=momentum),
        # Always float32: 16 bits are too coarse for probabilities.
        layers.Dense(num_classes, activation="softmax", dtype="float32"),  # (10,)
    ]
    if not batch_norm:
        network = [
            layer
            for layer in network
            if not isinstance(layer, layers.BatchNormalization)
        ]
    return keras.Sequential(network)


def train(
    model, x_train, y_train, *, epochs, batch_size, learning_rate, callbacks=None
):
    """Compile and train a model; return Keras' History of the training.

    The images come from prepare(); the labels are integers.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",  # integer labels
        metrics=["accuracy"],
    )
    return model.fit(
        x_train,
        y_train,
        batch_size=batch_size,
        epochs=epochs,
        # Keras holds out the last 20 % before it shuffles: do not sort images by class.
        validation_split=VALIDATION_SPLIT,
        callbacks=callbacks,
        verbose=1 if sys.stdout.isatty() else 2,  # 2: one line per epoch
    )


def main(  # the options of the command line; their types are at the end of this file
    *,
    epochs: Epochs = 25,
    dataset: Dataset = None,
    compare: Compare = False,
    plot: PlotFile = None,
    save: KerasFile = None,
    train_images: TrainImages = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = 0.001,
    momentum: Momentum = 0.9,
    dtype_policy: DtypePolicy = "float32",
    seed: Seed = 1,
):
    """Train a network with Batch Normalization on KMNIST, and test it."""
    # By default, this calls kmnist.load_data().
    dataset, ((x_train, y_train), (x_test, y_test)) = load_or_exit(dataset)
    x_train = prepare(x_train[:train_images])
    y_train = y_train[:train_images]
    x_test = prepare(x_test)
    batch_size = batch_size or default_batch_size(len(x_train))
    describe(dataset, len(x_train), len(x_test), batch_size, epochs, momentum)

    keras.config.set_dtype_policy(dtype_policy)  # of all layers made from here on
    ctrl_c = StopOnCtrlC()
    histories, results = {}, {}
    for name in ["with", "without"] if compare else ["with"]:
        print(f"Training {name} Batch Normalization", flush=True)
        # The other layers start with the same weights in both networks.
        keras.utils.set_random_seed(seed)
        model = build_model(
            input_shape=x_train.shape[1:],
            num_classes=10,
            batch_norm=(name == "with"),
            momentum=momentum,
        )
        use_fused_kernel(model)  # only saves time; your own code can do without it
        with ctrl_c:  # Ctrl-C then ends the training early
            histories[name] = train(
                model,
                x_train,
                y_train,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                callbacks=[ctrl_c],
            )
        if save and name == "with":
            model.save(save)
        loss, accuracy = model.evaluate(
            x_test, y_test, batch_size=batch_size, verbose=0
        )
        results[name] = f"Test loss: {loss:.4f} / Test accuracy: {accuracy:.4f}"
        if dataset == "digits":
            results[name] += " (digits, not KMNIST)"
        if ctrl_c.pressed:
            results[name] += " (stopped by Ctrl-C)"
        print(results[name], flush=True)
        if ctrl_c.pressed:
            break
    if len(results) > 1:
        print()
        for name, result in results.items():
            print(f"{name:7} {result}")
    if plot:
        plot_histories(histories, f"trained on {dataset}").savefig(plot)
    if ctrl_c.pressed:
        sys.exit(130)  # the convention for Ctrl-C


# The example ends here. Below: the batch size, the data, a faster kernel, Ctrl-C, the plot
# and the options.


def default_batch_size(num_images):
    """Return 250, or fewer if an epoch would have fewer than 66 full steps, but at least 2.

    0.9 ** 66 is less than 0.001, so with 66 steps the averages are usable after one epoch.
    """
    return min(250, max(2, num_training(num_images) // 66))


def num_training(num_images):
    """Return how many of the images fit() trains on; it validates with the others."""
    return int(num_images * (1 - VALIDATION_SPLIT))


def describe(dataset, num_images, num_test, batch_size, epochs, momentum):
    """Print the sizes, and a warning if the moving averages will not be usable."""
    training = num_training(num_images)
    steps = math.ceil(training / batch_size)
    print(
        f"{dataset}: {training} training, {num_images - training} validation"
        f" and {num_test} test images\n"
        f"batch size {batch_size}, {steps} steps per epoch"
    )
    # The fraction of the averages' initial values that remains at the end:
    if momentum ** (steps * epochs) > 0.001:
        print(
            "Too few steps for this momentum: validation and test accuracy may be far too"
            " low. Train for more epochs, use smaller batches or lower the momentum."
        )


SHA256 = {  # of the published files
    "kmnist.npz_kmnist_train_imgs": "11d69e17c8fd294905864aef177fd10c2185e5a3655f4da03d72ea5a64c17a72",
    "kmnist.npz_kmnist_train_labels": "a325c877035602cb9b9ba54f4194a2a1b5f718026a463db5b5e0cdc124c03720",
    "kmnist.npz_kmnist_test_imgs": "692d824896bec8f3c357ebf7a0fe904ed67ac632ce953d0b58f7fbef7bb27d87",
    "kmnist.npz_kmnist_test_labels": "660f13a4705431ea2a6391c41ecbe384cd0d932c595a101ec4f3b8989e785046",
}
TIMEOUT = 15  # seconds without an answer


def load_or_exit(dataset=None):
    """Return the name of a data set, and what load_data() returns for it.

    Without a name it is "kmnist", or "digits" if KMNIST cannot be downloaded. Any other
    failure to load KMNIST, and any if it was asked for by name, ends the program.
    """
    try:
        return dataset or "kmnist", load_data(dataset or "kmnist")
    except (OSError, ValueError) as error:  # ValueError: a checksum that does not match
        if dataset or not isinstance(error, requests.RequestException):
            sys.exit(f"No KMNIST: {error}\n--dataset digits needs no download.")
        print(
            "No KMNIST: it cannot be downloaded from codh.rois.ac.jp"
            f" ({type(error).__name__}). Training on handwritten digits instead.",
            file=sys.stderr,
        )
    return "digits", load_data("digits")


def load_data(dataset="kmnist"):
    """Load "kmnist" (downloaded once) or "digits" (part of scikit-learn).

    Returns (x_train, y_train), (x_test, y_test): uint8 images of shape (n, 28, 28), and
    integer labels from 0 to 9. Raises requests.RequestException, a kind of OSError, if
    KMNIST cannot be downloaded, OSError if it cannot be stored, and ValueError if it is not
    as published.
    """
    return {"kmnist": kmnist.load_data, "digits": load_digits}[dataset]()


def get_file(name, origin):
    """Return the path of a file in Keras' cache, downloaded if needed."""
    return pooch.retrieve(
        origin.replace("http:", "https:"),
        known_hash=SHA256.get(name),
        fname=name,
        path=Path(os.environ.get("KERAS_HOME", "~/.keras"), "datasets"),
        downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
    )


# The package's own get_file uses plain HTTP, without a checksum or a time-out.
kmnist.get_file = get_file


def load_digits():
    """Load scikit-learn's 1,797 handwritten digits, enlarged to 28 x 28 pixels."""
    digits = datasets.load_digits()  # 8 x 8 pixels from 0 to 16
    images = (digits.images * (255 / 16)).astype("uint8")
    images = images.repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        images,
        digits.target.astype("uint8"),
        test_size=0.2,
        stratify=digits.target,
        random_state=0,
    )
    return (x_train, y_train), (x_test, y_test)


def use_fused_kernel(model):
    """Let a model's BatchNormalization layers train with TensorFlow's fused kernel.

    The kernel is one operation where Keras has several. It computes the same, but rounds
    differently. Only layers with Keras' defaults for everything except momentum and epsilon
    use it, and only the model's own, not those of models inside it. Call this before the
    first fit(). With another backend than TensorFlow it does nothing.
    """
    if keras.backend.backend() == "tensorflow":
        for layer in model.layers:
            if can_be_fused(layer):
                layer.call = functools.partial(fused_call, layer)


def can_be_fused(layer):
    """Return whether a layer is one whose configuration fused_call() knows."""
    if type(layer) is not layers.BatchNormalization:
        return False  # a subclass may compute something else
    known = layers.BatchNormalization(
        momentum=layer.momentum,
        epsilon=layer.epsilon,
        dtype=layer.dtype_policy,
        name=layer.name,
    )
    return (
        layer.get_config() == known.get_config() and known.variable_dtype == "float32"
    )


def fused_call(layer, inputs, training=None, mask=None):
    """Compute what the layer's call() does, in training with the fused kernel."""
    training = training and layer.trainable  # a frozen layer does not train
    if not training or mask is not None or len(inputs.shape) != 4:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma, layer.beta, epsilon=layer.epsilon
    )
    # The kernel's variance has n - 1 in its denominator, Keras' has n, the number of values.
    n = tf.cast(tf.size(inputs) / tf.size(mean), "float32")
    variance *= (n - 1) / n
    for average, batch in (
        (layer.moving_mean, mean),
        (layer.moving_variance, variance),
    ):
        average.assign(average * layer.momentum + batch * (1 - layer.momentum))
    return outputs


class StopOnCtrlC(keras.callbacks.Callback):
    """Lets Ctrl-C end fit() after the current step and a validation, a second one the program.

    It is a callback of fit(), and the with block around it.
    """

    pressed = False

    def __enter__(self):
        self.handler = signal.getsignal(signal.SIGINT)

    def on_train_begin(self, logs=None):  # fit() has just set stop_training to False
        if self.handler != signal.SIG_IGN:  # as it is, for example, in a background job
            signal.signal(signal.SIGINT, self.stop)

    def stop(self, signum, frame):
        signal.signal(signal.SIGINT, self.handler)
        self.pressed = True
        self.model.stop_training = True  # fit() looks at it after each step
        print("\nStopping; press Ctrl-C again to quit at once.", file=sys.stderr)

    def __exit__(self, *exception):  # also if fit() raises
        signal.signal(signal.SIGINT, self.handler)


def plot_histories(histories, title):
    """Return a matplotlib Figure of accuracy and loss.

    histories: Keras' History of the network "with", and of that "without" if it was trained.
    """
    figure = Figure(figsize=(11, 4.5), dpi=150, layout="constrained")
    figure.suptitle(title)
    looks = {"with": "C0o", "without": "C1s"}  # color and marker
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss")):
        for name, history in histories.items():
            for key, line in ((quantity, "--"), (f"val_{quantity}", "-")):
                curve = history.history[key]
                epochs = range(1, len(curve) + 1)
                axes.plot(epochs, curve, looks[name] + line, label=f"{key}, {name}")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(title=f"{' and '.join(histories)} Batch Normalization")
    return figure


def writable(*suffixes):
    """Return a check for typer: a file with one of these suffixes that can be written."""

    def check(path: Path | None):
        if path is None:
            return None
        if path.suffix not in suffixes:
            raise typer.BadParameter(f"{path} does not end in {' or '.join(suffixes)}")
        if path.is_dir() or not os.access(
            path if path.exists() else path.parent, os.W_OK
        ):
            raise typer.BadParameter(f"{path} cannot be written")
        return path

    return check


# The options of main(), for typer. From Python: main(epochs=3, compare=True).
Epochs = Annotated[int, typer.Option(min=1, help="Train for this many epochs.")]
Dataset = Annotated[
    Literal["kmnist", "digits"] | None,
    typer.Option(
        help="Train on this data set. By default it is KMNIST, or scikit-learn's digits if"
        " KMNIST cannot be downloaded."
    ),
]
Compare = Annotated[
    bool, typer.Option("--compare", help="Train again without Batch Normalization.")
]
PlotFile = Annotated[
    Path | None,
    typer.Option(
        callback=writable(".png", ".svg", ".pdf"),
        help="Plot accuracy and loss to this .png, .svg or .pdf file.",
    ),
]
KerasFile = Annotated[
    Path | None,
    typer.Option(
        callback=writable(".keras"),
        help="Save the network with Batch Normalization to this .keras file.",
    ),
]
TrainImages = Annotated[
    int | None, typer.Option(min=20, help="Use only this many of the training images.")
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Use this many images in each training step. By default it is 250, or fewer if"
        " an epoch would have fewer than 66 full steps.",
    ),
]
LearningRate = Annotated[
    float, typer.Option(min=1e-9, max=1e9, help="Set the learning rate of Adam.")
]
Momentum = Annotated[
    float,
    typer.Option(min=0, max=0.999999, help="Set the momentum of the moving averages."),
]
DtypePolicy = Annotated[
    Literal["float32", "mixed_bfloat16", "mixed_float16"],
    typer.Option(
        metavar="POLICY",
        help="Compute in float32, or partly in 16 bits: mixed_bfloat16 or mixed_float16."
        " 16 bits can save time on a GPU or on a processor with native bfloat16; on others,"
        " a step can take several times as long.",
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Set the seed of all random numbers.")
]

if __name__ == "__main__":
    typer.run(main)

# For "uv run model_batchnorm.py" and "pipx run model_batchnorm.py":
#
# /// script
# requires-python = ">=3.10,<3.14"
# dependencies = [
#     "tensorflow>=2.16.1",
#     "keras>=3.7.0",
#     "extra-keras-datasets>=1.2.0,<1.3",
#     "scikit-learn>=1.4.2",
#     "numpy>=1.26.4",
#     "matplotlib>=3.8.4",
#     "pooch>=1.8.0",
#     "requests>=2.31.0",
#     "typer>=0.29.0",
# ]
# ///
