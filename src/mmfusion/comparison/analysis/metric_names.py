"""Names of the metrics in words, as tables and sentences have them."""

from collections.abc import Mapping

METRICS: Mapping[str, str] = {
    "auc": "AUC",
    "average_precision": "average precision",
    "average_precision_called": "average precision of called classes",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
    "mcc": "MCC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "g_mean": "G-mean",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "log_loss": "log loss",
}


def metric(name: str) -> str:
    """A metric's name in words."""
    if name in METRICS:
        return METRICS[name]
    if name.startswith("accuracy_"):
        return f"accuracy of {name.removeprefix('accuracy_')}"
    return name.replace("_", " ")
