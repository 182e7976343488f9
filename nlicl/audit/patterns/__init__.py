"""What is wrong with a gradient of any function, from the numbers alone."""

from .explain import explain
from .fit import Seen
from .product import explain_product
from .where import where_wrong

__all__ = ["Seen", "explain", "explain_product", "where_wrong"]
