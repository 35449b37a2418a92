"""Label columns; they live in `specalign.data.columns`, which training can import, too."""

from specalign.data.columns import column_values, difference_unit, label_names, with_unit

__all__ = ["column_values", "difference_unit", "label_names", "with_unit"]
