"""A multilayer perceptron of the table alone (Gorishniy et al., 2021)."""

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import OF_IMAGES, method
from mmfusion.spec import DataSpec


@method("tabular_mlp", without=OF_IMAGES)
def tabular_mlp(spec: DataSpec) -> Blueprint:
    """The table alone: a multilayer perceptron of its cells (Gorishniy et al., 2021, arXiv 2106.11959, section 3.1).

    The table's part of ``concat``: two linear layers with a ReLU between them make the embedding, which through another
    ReLU, the hidden layers and a linear map becomes the prediction. A tokenizer of several tokens is averaged over
    them. The embeddings of several tables are concatenated.

    NOTE[DIFF] Categories are one-hot instead of embedded, which before a linear map is the same set of functions.
    NOTE[DIFF] Dropout after the hidden layers alone; the tokenizer has its own option.
    """
    return Blueprint(reads=("tables",), head=part("mlp", rectify=True))
