"""Is it decisive with residual connections?"""

from questions import depth
from questions.depth import OPTIMIZERS, SETTINGS, convolution
from runs import BATCH_NORM, GLOROT, HE, WITH, Run, layer, residual

SEEDS = 5


def residual_stack(depth, norm=None, **options):
    """List the convolutions of plain_stack(), with connections around pairs of them.

    The first two have none. The second ReLU of a pair comes after the addition, as in He
    et al. (2015), arXiv:1512.03385, figure 2.
    """
    relu = layer("ReLU")
    listed = [convolution(number, depth, norm, **options) for number in range(depth)]
    network = [*listed[0], relu, *listed[1], relu]
    for first, second in zip(listed[2::2], listed[3::2]):
        network += [residual([*first, relu, *second]), relu]
    return [*network, layer("Flatten")]


RUNS = {
    (name, optimizer, number): Run(network, **SETTINGS, **options)
    for optimizer, options in OPTIMIZERS.items()
    for number in (20, 40)  # convolutions
    for name, network in {
        WITH: residual_stack(number, BATCH_NORM),
        GLOROT: residual_stack(number),
        HE: residual_stack(number, kernel_initializer="he_normal"),
    }.items()
}
report = depth.report
