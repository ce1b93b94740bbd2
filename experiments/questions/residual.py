"""Is it decisive with residual connections?"""

import tables
from questions import depth
from questions.depth import convolution
from runs import layer, residual

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


RUNS = depth.stacks(residual_stack, (20, 40))


def report(found):
    return []  # its figure says it


def details(found):
    yield depth.with_minus_others(tables.after(found, "test_accuracy"))
    for quantity in "test_accuracy", "accuracy":
        yield tables.grid(tables.after(found, quantity), depth.CORNER)
    yield tables.losses_of_failures(found)


draw = depth.draw_stacks
