"""What an encoder is made of: its layers with the shapes of what they give and the numbers that they learn."""

from dataclasses import dataclass

import torch

from specalign.display import Displayed

__all__ = ["Layer", "Summary", "summary"]


@dataclass(frozen=True)
class Layer(Displayed):
    """One layer of an encoder.

    Attributes
    ----------
    name : str
        Its place, such as ``convolutions.0``.
    kind : str
        Its class, such as ``Conv1d``.
    output_shape : tuple or None
        Of what it gives for one spectrum; None where it is not called as a layer.
    parameters : int
        Trainable numbers of its own, without those of layers inside it; shared ones count where they come first.

    Examples
    --------
    >>> from specalign.encoders.layers import Layer
    >>> Layer("convolutions.0", "Conv1d", (4, 8575), 36).parameters
    36
    """

    name: str
    kind: str
    output_shape: tuple | None
    parameters: int


@dataclass(frozen=True)
class Summary(Displayed):
    """The layers of an encoder; printed, it is a table.

    Attributes
    ----------
    title : str
    layers : tuple of Layer
    fixed : int
        Numbers that are fitted before the training and kept, such as the mean of each pixel, or frozen.

    Examples
    --------
    >>> from specalign import get_encoder
    >>> from specalign.encoders.layers import Summary, summary
    >>> layers = summary(get_encoder("starnet", n_pixels=8575))
    >>> isinstance(layers, Summary), layers.layers[0].kind
    (True, 'PixelScaler')
    """

    title: str
    layers: tuple
    fixed: int

    @property
    def parameters(self):
        """Trainable numbers of all layers."""
        return sum(layer.parameters for layer in self.layers)

    def _facts(self):
        layers = {layer.name: f"{layer.kind}, {layer.parameters:,} parameters" for layer in self.layers}
        return {"model": self.title, **layers, "fixed": f"{self.fixed:,}"}

    def __repr__(self):
        head = ("layer", "kind", "output shape", "parameters")
        rows = [head, *(_cells(layer) for layer in self.layers), ("total", "", "", f"{self.parameters:,}")]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [_line(row, widths) for row in rows]
        rule = "-" * len(lines[0])
        return "\n".join(
            [self.title, rule, lines[0], rule, *lines[1:-1], rule, lines[-1], f"{self.fixed:,} more are fixed"]
        )


def _cells(layer):
    shape = "" if layer.output_shape is None else f"({', '.join(['n', *map(str, layer.output_shape)])})"
    return layer.name, layer.kind, shape, f"{layer.parameters:,}"


def _line(row, widths):
    return "  ".join(
        [text.ljust(width) for text, width in zip(row[:3], widths, strict=False)] + [row[3].rjust(widths[3])]
    )


def summary(encoder):
    """Layers of an encoder in the order in which they are defined.

    Parameters
    ----------
    encoder : Encoder

    Returns
    -------
    Summary

    Examples
    --------
    >>> from specalign import get_encoder
    >>> from specalign.encoders import summary
    >>> summary(get_encoder("starnet", n_pixels=8192, embed_dim=3))
    StarNet: 8192 pixels to 3 numbers
    ------------------------------------------------------
    layer           kind         output shape   parameters
    ------------------------------------------------------
    scaler          PixelScaler  (n, 8192)               0
    convolutions.0  Conv1d       (n, 4, 8185)           36
    convolutions.1  ReLU         (n, 4, 8185)            0
    convolutions.2  Conv1d       (n, 16, 8178)         528
    convolutions.3  ReLU         (n, 16, 8178)           0
    convolutions.4  MaxPool1d    (n, 16, 2044)           0
    convolutions.5  Flatten      (n, 32704)              0
    dense.0         Linear       (n, 256)        8,372,480
    dense.1         ReLU         (n, 256)                0
    dense.2         Linear       (n, 128)           32,896
    dense.3         ReLU         (n, 128)                0
    dense.4         Linear       (n, 3)                387
    ------------------------------------------------------
    total                                        8,406,327
    16,384 more are fixed
    """
    shapes = _output_shapes(encoder)
    seen, layers = set(), []
    for name, module in encoder.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad and id(p) not in seen]
        seen.update(map(id, own))
        is_leaf = next(module.children(), None) is None
        if name and (own or (is_leaf and name in shapes)):
            layers.append(Layer(name, type(module).__name__, shapes.get(name), sum(p.numel() for p in own)))
        elif own:
            layers.append(Layer("itself", type(module).__name__, None, sum(p.numel() for p in own)))
    frozen = [p for p in encoder.parameters() if not p.requires_grad]
    fixed = sum(tensor.numel() for tensor in [*encoder.buffers(), *frozen])
    title = f"{type(encoder).__name__}: {encoder.n_pixels} pixels to {encoder.embed_dim} numbers"
    return Summary(title, tuple(layers), fixed)


def _output_shapes(encoder):
    """Shape of each layer's output for one row, without the row; the encoder stays as it is."""
    shapes, training = {}, encoder.training

    def keep(name):
        def hook(module, inputs, output):
            if isinstance(output, torch.Tensor):
                shapes[name] = tuple(output.shape[1:])

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in encoder.named_modules()]
    row = torch.ones(1, encoder.n_pixels)
    try:
        with torch.no_grad():
            encoder.eval()(row, row, torch.zeros_like(row, dtype=torch.bool))
    finally:
        encoder.train(training)
        for hook in hooks:
            hook.remove()
    return shapes
