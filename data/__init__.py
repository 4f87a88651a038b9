"""The data sets of the notebook as NumPy arrays that every framework reads byte for byte.

    >>> import data
    >>> digits = data.load("embedded")
    >>> digits.x_train.shape, digits.y_val.shape
    ((1437, 4096), (360, 10))

`load` gives arrays, `prepare` and `fetch` put photographs where `load` finds them, `batches` says in which
order the samples are seen, `draws` makes the random numbers of dropout and augmentation. No framework is
imported here, and OpenCV, scikit-learn and pooch only by the functions that need them.
"""

from data import batches, draws
from data.catalogue import NAMES
from data.errors import DataError
from data.fetching import fetch
from data.loading import Dataset, load
from data.preparing import prepare

__all__ = ["NAMES", "DataError", "Dataset", "batches", "draws", "fetch", "load", "prepare"]
