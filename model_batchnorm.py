"""Batch Normalization (Ioffe and Szegedy 2015, arXiv:1502.03167) in a network that reads KMNIST.

In training, the layer normalizes each channel with the mean and variance of the batch; afterwards
with moving averages of these: average = momentum * average + (1 - momentum) * the batch's.
"""

import argparse
import hashlib
import logging
import os
import socket
import sys
import time
import types
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from extra_keras_datasets import kmnist
from keras import layers
from matplotlib.figure import Figure
from sklearn import datasets, model_selection


def load_data(dataset="kmnist"):
    """Load "kmnist", "mnist", "fashion_mnist" or, which needs no internet, "digits".

    Returns (x_train, y_train), (x_test, y_test): images as float32 in [0, 1] of shape
    (n, 28, 28, 1), classes as integers from 0 of shape (n,). Raises OSError if there is no data.
    """
    (x_train, y_train), (x_test, y_test) = LOADERS[dataset]()
    x_train = np.divide(x_train[..., np.newaxis], 255, dtype="float32")  # one copy, not three
    x_test = np.divide(x_test[..., np.newaxis], 255, dtype="float32")
    return (x_train, y_train), (x_test, y_test)


def settled_momentum(steps_per_epoch):
    """Return a momentum with which the moving averages forget their initial values in an epoch."""
    # After k steps they still hold momentum ** k of these, 0 and 1, which say nothing of the data.
    # A thousandth is little enough: that takes 66 steps at 0.9, and 688 at Keras' default of 0.99.
    # No lower than needed: they span about 1 / (1 - momentum) batches, and fewer are noisier.
    return min(0.9, 0.001 ** (1 / steps_per_epoch))


def even_batch_size(num_images, batch_size):
    """Return the largest size up to batch_size with which the last batch is at least half full."""
    # Validation follows the last batch, which counts as much in the averages as a full one.
    size = min(batch_size, 2 * num_images)  # where the loop would come to, one by one
    while 0 < num_images % size < size / 2:
        size -= 1
    return size


def build_model(input_shape, num_classes, batch_norm=True, momentum=0.9):
    """Build the network, not yet compiled, from images to (n, num_classes) probabilities."""
    network = [
        keras.Input(shape=input_shape),  # (height, width, channels), 10 x 10 pixels or more
        layers.Conv2D(32, kernel_size=3, activation="relu"),
        layers.BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),
        layers.BatchNormalization(momentum=momentum),
        layers.Conv2D(64, kernel_size=3, activation="relu"),
        layers.BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),
        layers.BatchNormalization(momentum=momentum),
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.BatchNormalization(momentum=momentum),
        layers.Dense(num_classes, activation="softmax", dtype="float32"),  # even in mixed precision
    ]
    if not batch_norm:
        network = [layer for layer in network if not isinstance(layer, layers.BatchNormalization)]
    return keras.Sequential(network)


def train(model, x_train, y_train, epochs=25, batch_size=250, validation_split=0.2,
          learning_rate=0.001, **fit_options):
    """Compile and train the model, the last images kept for validation; return Keras' History."""
    model.compile(optimizer=keras.optimizers.Adam(learning_rate),
                  loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.fit(x_train, y_train, epochs=epochs, batch_size=batch_size,
                     validation_split=validation_split, **fit_options)


def run(data, batch_norm=True, momentum=0.9, seed=1, build=build_model, callbacks=(), **options):
    """Build, train and test one network, with this random seed and the data of load_data().

    Returns the model and a dict: history, test_loss, test_accuracy, seconds per epoch, interrupted.
    """
    (x_train, y_train), (x_test, y_test) = data
    tf.config.experimental.enable_op_determinism()  # the same seed gives the same result
    keras.utils.set_random_seed(seed)
    num_classes = int(max(y_train.max(), y_test.max())) + 1
    model = build(x_train.shape[1:], num_classes, batch_norm, momentum)
    use_fused_kernel(model)  # the same layers, faster: see below
    history = keras.callbacks.History()  # fit() returns none when it is interrupted
    interrupted = False
    start = time.perf_counter()
    try:
        train(model, x_train, y_train, callbacks=[history, *callbacks], **options)
    except KeyboardInterrupt:  # what has been learned by now is still tested and saved
        interrupted = True
    seconds = (time.perf_counter() - start) / max(1, len(history.history.get("loss", ())))
    loss, accuracy = model.evaluate(x_test, y_test, batch_size=250, verbose=0)
    return model, {"history": history.history, "seconds": seconds, "interrupted": interrupted,
                   "test_loss": loss, "test_accuracy": accuracy}


def main(argv=None):
    """Run the example with these options (None: the command line's); return the exit status."""
    args = parse_options(argv)
    dataset, ((x_train, y_train), test) = load_or_digits(args.dataset)
    x_train, y_train = x_train[:args.train_images], y_train[:args.train_images]
    num_training = int(len(x_train) * (1 - args.validation_split))  # Keras' own formula
    batch_size = even_batch_size(num_training, args.batch_size)
    steps = int(np.ceil(num_training / batch_size))
    momentum = settled_momentum(steps) if args.momentum is None else args.momentum
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    print(f"{dataset}: {num_training} training, {len(x_train) - num_training} validation and"
          f" {len(test[0])} test images; {args.dtype_policy} on the {device};\n"
          f"batch size {batch_size}, {steps} steps an epoch, momentum {momentum:.3g}")
    keras.config.set_image_data_format("channels_last")  # a user's keras.json may differ
    keras.config.set_dtype_policy(args.dtype_policy)
    results, written = {}, True
    for name in args.networks:  # "with", "without", or both
        print(f"Training {name} Batch Normalization", flush=True)
        model, results[name] = run(
            ((x_train, y_train), test), name == "with", momentum, args.seed, epochs=args.epochs,
            batch_size=batch_size, validation_split=args.validation_split,
            learning_rate=args.learning_rate, verbose=1 if sys.stdout.isatty() else 2)
        if args.save and name == args.networks[0]:
            written = write(args.save, model.save)
        if results[name]["interrupted"]:
            break
    if args.plot:
        written &= write(args.plot, plot(results).savefig)
    if len(args.networks) > 1:
        print(comparison(results))
    one = results[args.networks[0]]
    remark = " (digits, not KMNIST)" if dataset == "digits" and not args.dataset else ""
    print(f"Test loss: {one['test_loss']:.4f} / Test accuracy: {one['test_accuracy']:.4f}{remark}")
    return 1 if not written else (130 if results[name]["interrupted"] else 0)


# --- Here the example ends. What follows only serves it: first, a faster Batch Normalization -----
def use_fused_kernel(model):
    """Let the BatchNormalization layers of a built model train with TensorFlow's fused kernel.

    The results stay the same up to rounding; training takes less time. The layers stay Keras' own:
    the model can be saved and copied like any other, and a copy runs Keras' own code again.
    """
    for layer in model.layers:
        if type(layer) is layers.BatchNormalization and keras.backend.backend() == "tensorflow":
            layer.call = types.MethodType(fused_call, layer)


def fused_call(layer, inputs, training=None, mask=None):
    """Normalize (n, height, width, channels) or (n, features); leave all else to Keras' code."""
    rank = layer.input_spec.ndim  # the inputs' own may be unknown in tracing
    if not (training and layer.trainable and mask is None and rank in (2, 4)
            and layer.axis in (-1, rank - 1) and layer.center and layer.scale
            and layer.variable_dtype == "float32" and inputs.dtype == layer.compute_dtype
            and not (layer.synchronized or getattr(layer, "renorm", False))):  # Keras 3.14 has it
        return layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    channels = layer.gamma.shape[0]
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs if rank == 4 else tf.reshape(inputs, (-1, 1, 1, channels)),
        layer.gamma, layer.beta, epsilon=layer.epsilon)
    # The kernel's variance is over n - 1, as algorithm 2 (page 4) has it; Keras' is over n.
    n = tf.cast(tf.size(inputs, tf.int64) // channels, "float32")
    variance *= (n - 1) / n
    for average, batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(average * layer.momentum + batch * (1 - layer.momentum))
    return outputs if rank == 4 else tf.reshape(outputs, (-1, channels))


# --- Where the data comes from; KMNIST: Clanuwat et al. 2018, arXiv:1812.01718 -------------------
HOST = "https://codh.rois.ac.jp/kmnist/dataset/kmnist"
SHA256 = {"train_imgs": "11d69e17c8fd294905864aef177fd10c2185e5a3655f4da03d72ea5a64c17a72",
          "train_labels": "a325c877035602cb9b9ba54f4194a2a1b5f718026a463db5b5e0cdc124c03720",
          "test_imgs": "692d824896bec8f3c357ebf7a0fe904ed67ac632ce953d0b58f7fbef7bb27d87",
          "test_labels": "660f13a4705431ea2a6391c41ecbe384cd0d932c595a101ec4f3b8989e785046"}
MD5 = "8b8d14f1330c28e64011caded599b6c3"  # of the bytes of all 70,000 images, then all labels
TIMEOUT = 15  # seconds without a byte after which a source is given up


def load_or_digits(dataset):
    """Load a data set or, if none is asked for, KMNIST, else digits; return its name, too."""
    logging.basicConfig(format="%(message)s")  # else kmnist.load_data turns on all INFO messages
    try:
        return dataset or "kmnist", load_data(dataset or "kmnist")
    except OSError as error:
        if dataset:
            sys.exit(f"{error}\n--dataset digits needs no network.")
        logging.warning("%s\nUsing digits instead; --dataset kmnist insists on KMNIST.", error)
        return "digits", load_data("digits")


def load_kmnist():
    """Load KMNIST from Keras' cache, which is filled from its host, or else from OpenML."""
    try:  # Whatever kmnist.load_data misses there it would fetch over plain HTTP, and not check.
        for name, sha256 in SHA256.items():
            url = f"{HOST}/kmnist-{name.replace('_', '-')}.npz"
            fill_cache(f"kmnist.npz_kmnist_{name}", url, sha256)
        return fetch(kmnist.load_data, type="kmnist")
    except OSError as error:
        logging.warning("KMNIST could not be loaded: %s", error)
    # dtype: scikit-learn's choice takes eight times the memory, and fails with pandas 3.
    images, labels = fetch(datasets.fetch_openml, data_id=41982, as_frame=False, return_X_y=True,
                           parser="pandas", read_csv_kwargs={"dtype": "uint8"})
    if hashlib.md5(images.tobytes() + labels.tobytes()).hexdigest() != MD5:
        raise OSError("KMNIST from OpenML is not what was published")
    images = images.reshape(-1, 28, 28)
    n = len(images) * 6 // 7  # the training images, which come first
    return (images[:n], labels[:n]), (images[n:], labels[n:])


def fill_cache(name, url, sha256):
    """Have the file with this checksum in Keras' cache, fetched if need be; return its path."""
    for home in os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras")), "/tmp/.keras":
        file = Path(home, "datasets", name).absolute()
        if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256:
            # Copies it if Keras, say because it cannot write there, looks elsewhere.
            return fetch(keras.utils.get_file, name, file.as_uri(), file_hash=sha256)
    # Under a name of its own, so that nothing unfinished or unchecked is taken for the file.
    part = fetch(keras.utils.get_file, f"{name}.{os.getpid()}.part", url, file_hash=sha256)
    return Path(part).replace(Path(part).with_name(name))


def fetch(function, *args, **kwargs):
    """Call a library's function that may use the network; whatever it raises, raise OSError."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", "A network error")  # else scikit-learn goes on trying
            return function(*args, **kwargs)
    except Exception as error:  # all that keras.utils.get_file raises, for one
        raise OSError(f"{function.__name__}: {error}") from error
    finally:
        socket.setdefaulttimeout(timeout)


def load_digits():
    """Load scikit-learn's 1,797 handwritten digits, enlarged to 28 x 28 pixels."""
    digits = datasets.load_digits()  # 8 x 8 pixels of 0 to 16
    images = (digits.images * (255 / 16)).astype("uint8").repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0)
    return (x_train, y_train), (x_test, y_test)


LOADERS = {"kmnist": load_kmnist, "digits": load_digits,
           "mnist": lambda: fetch(keras.datasets.mnist.load_data),
           "fashion_mnist": lambda: fetch(keras.datasets.fashion_mnist.load_data)}

# --- Files, reports and options ------------------------------------------------------------------
def write(path, save):
    """Call save(path); return whether that went well, and say why if not."""
    try:
        save(path)
        return True
    except Exception as error:  # on a full disk HDF5 raises one kind, matplotlib another
        logging.error("%s could not be written: %s", path, error)
        return False


def comparison(results):
    """Return a table of main()'s results, a row for each network, less than 80 wide."""
    table = "         test accuracy  test loss  best validation (epoch)  first 97 %  s/epoch"
    for name, result in results.items():
        curve = result["history"].get("val_accuracy", [])
        best = f"{max(curve):.4f} ({curve.index(max(curve)) + 1})" if curve else "-"
        reached = next((epoch for epoch, value in enumerate(curve, 1) if value >= 0.97), "-")
        table += (f"\n{name:8}{result['test_accuracy']:14.4f}{result['test_loss']:11.4f}{best:>25}"
                  f"{reached:>12}{result['seconds']:9.2f}")
    return table


def plot(results):
    """Return a matplotlib Figure of main()'s results: accuracy and loss over the epochs."""
    figure = Figure(figsize=(11, 4.5), dpi=150, layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss")):
        for name, result in results.items():
            for key, look in ((quantity, "o--"), (f"val_{quantity}", "s-")):
                curve = result["history"].get(key, [])
                axes.plot(range(1, len(curve) + 1), curve, look, label=f"{key}, {name} the layers")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def parse_options(argv):
    """Return the options; exit with status 2 where they could only fail after the training."""
    parser = argparse.ArgumentParser(description="Batch Normalization at work, on KMNIST.")
    option, default = parser.add_argument, "(default: %(default)s)"
    option("--dataset", choices=LOADERS, help="default: kmnist, or digits where that cannot be had")
    option("--train-images", type=number(int, 20), help="only the first so many (default: all)")
    option("--epochs", type=number(int, 1), default=25, help=f"times to train on them {default}")
    option("--batch-size", type=number(int, 2), default=250, help=f"images a step {default}")
    option("--learning-rate", type=number(float, 1e-9), default=0.001, help=f"Adam's {default}")
    option("--validation-split", type=number(float, 0.001, 0.9, also=0), default=0.2,
           help=f"share of the training images to validate with, 0 for none {default}")
    option("--momentum", type=number(float, 0, 0.999999), help="default: 0.9, or less if need be")
    option("--seed", type=number(int, 0, 2**32 - 1), default=1, help=f"random numbers' {default}")
    option("--dtype-policy", choices=["float32", "mixed_bfloat16", "mixed_float16"], metavar="NAME",
           default="float32", help=f"float32, mixed_bfloat16 or mixed_float16 {default}")
    option("--save", type=writable(".keras"), help="file for the trained network")
    option("--plot", type=writable(".png", ".svg", ".pdf"), help="file for the curves")
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument("--no-batch-norm", dest="networks", action="store_const",
                          default=["with"], const=["without"], help="leave the layers out")
    networks.add_argument("--compare", dest="networks", action="store_const",
                          const=["with", "without"], help="train with and without them")
    return parser.parse_args(argv)


def number(convert, low, high=2**31 - 1, also=None):
    """Return a type for argparse: a number from low to high, or the one that is allowed, too."""
    def number(text):  # argparse names it: "invalid number value"
        if low <= convert(text) <= high or convert(text) == also:
            return convert(text)
        raise argparse.ArgumentTypeError(f"from {low} to {high}, not {text}")
    return number


def writable(*suffixes):
    """Return a type for argparse: the path of a file with one of the suffixes."""
    def path(text):
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"a {', '.join(suffixes)} file, not {text}")
        is_new = not os.path.exists(text)
        try:
            open(text, "ab").close()
        except OSError as error:
            raise argparse.ArgumentTypeError(f"cannot be written: {error}") from error
        if is_new:
            os.remove(os.path.realpath(text))
        return text
    return path


if __name__ == "__main__":
    sys.exit(main())
