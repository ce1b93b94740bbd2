"""The networks of the experiments that differ from the script's, a list of layers each.

Every function takes what model_batchnorm.build_model takes, and returns a keras.Sequential.
"""

import keras
from keras import layers


def after_relu(input_shape, num_classes, batch_norm, momentum):
    """As in the script, without the two layers that follow a pooling: three layers, not five."""
    return keras.Sequential([
        keras.Input(shape=input_shape),
        layers.Conv2D(32, kernel_size=3, activation="relu"),
        layers.BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),
        layers.Conv2D(64, kernel_size=3, activation="relu"),
        layers.BatchNormalization(momentum=momentum),
        layers.MaxPooling2D(pool_size=2),
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.BatchNormalization(momentum=momentum),
        layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ])


def before_relu(input_shape, num_classes, batch_norm, momentum, use_bias=True):
    """Three layers before the activation, where the paper puts them (section 3.2, page 5)."""
    return keras.Sequential([
        keras.Input(shape=input_shape),
        layers.Conv2D(32, kernel_size=3, use_bias=use_bias),
        layers.BatchNormalization(momentum=momentum),
        layers.ReLU(),
        layers.MaxPooling2D(pool_size=2),
        layers.Conv2D(64, kernel_size=3, use_bias=use_bias),
        layers.BatchNormalization(momentum=momentum),
        layers.ReLU(),
        layers.MaxPooling2D(pool_size=2),
        layers.Flatten(),
        layers.Dense(256, use_bias=use_bias),
        layers.BatchNormalization(momentum=momentum),
        layers.ReLU(),
        layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ])


def before_relu_no_bias(input_shape, num_classes, batch_norm, momentum):
    """The same without the biases, which the normalisation takes away again."""
    return before_relu(input_shape, num_classes, batch_norm, momentum, use_bias=False)


def in_its_place(make_layer):
    """Return a function that builds the script's network with other layers in the five places."""

    def build(input_shape, num_classes, batch_norm, momentum):
        return keras.Sequential([
            keras.Input(shape=input_shape),
            layers.Conv2D(32, kernel_size=3, activation="relu"),
            make_layer(momentum),
            layers.MaxPooling2D(pool_size=2),
            make_layer(momentum),
            layers.Conv2D(64, kernel_size=3, activation="relu"),
            make_layer(momentum),
            layers.MaxPooling2D(pool_size=2),
            make_layer(momentum),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            make_layer(momentum),
            layers.Dense(num_classes, activation="softmax", dtype="float32"),
        ])

    return build


def dropout(input_shape, num_classes, batch_norm, momentum):
    """The script's network with dropout before the last layer, after the normalisation."""
    return keras.Sequential([
        keras.Input(shape=input_shape),
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
        layers.Dropout(0.5),
        layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ])


def dropout_before(input_shape, num_classes, batch_norm, momentum):
    """The same with dropout before the last normalisation instead of after it."""
    return keras.Sequential([
        keras.Input(shape=input_shape),
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
        layers.Dropout(0.5),
        layers.BatchNormalization(momentum=momentum),
        layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ])


def dropout_without(input_shape, num_classes, batch_norm, momentum):
    """The network without Batch Normalization, with dropout before the last layer."""
    return keras.Sequential([
        keras.Input(shape=input_shape),
        layers.Conv2D(32, kernel_size=3, activation="relu"),
        layers.MaxPooling2D(pool_size=2),
        layers.Conv2D(64, kernel_size=3, activation="relu"),
        layers.MaxPooling2D(pool_size=2),
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ])


BUILD = {
    "after ReLU": after_relu,
    "before ReLU": before_relu,
    "before ReLU, no bias": before_relu_no_bias,
    # The moving averages' momentum has to be that of renorm's own, 0.99: Keras' default for both.
    "renorm": in_its_place(lambda momentum: layers.BatchNormalization(renorm=True)),
    "GroupNormalization": in_its_place(lambda momentum: layers.GroupNormalization(groups=8)),
    "LayerNormalization": in_its_place(lambda momentum: layers.LayerNormalization()),
    "dropout": dropout,
    "dropout before": dropout_before,
    "dropout without": dropout_without,
}
