"""The plots of an evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visage import calibration
from visage.calibration import Judged
from visage.errors import ConfigurationError


def needed() -> Any:
    """Matplotlib's figure without a display. Raises ConfigurationError."""
    try:
        from matplotlib.figure import Figure  # a large package, for plots only
    except ImportError as exc:
        raise ConfigurationError("plots need matplotlib: pip install matplotlib, or leave --plots out") from exc
    return Figure


def write(scores: Judged, report: Mapping[str, Any], folder: Path) -> None:
    """roc.png and scores.png."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = needed()(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    false, true = calibration.curve(scores)
    least = 1 / max(1, report["pairs_of_two"])
    axes.plot(np.maximum(false, least / 2), true, drawstyle="steps-post")
    axes.set(xscale="log", xlabel="false accept rate", ylabel="true accept rate", ylim=(0, 1.02))
    axes.axvline(least, linestyle=":", color="grey", label=f"1 of {report['pairs_of_two']} pairs of two persons")
    axes.set_title(f"{report['model']}: ROC-AUC {report['roc_auc']:.4f}", fontsize="medium")
    axes.legend(loc="lower right")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(folder / "roc.png", dpi=110, metadata={"Software": None})
    figure = needed()(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(min(-0.2, scores.scores.min()), 1, 61)
    axes.hist(scores.scores[~scores.same], bins, alpha=0.6, density=True, label="two persons")
    axes.hist(scores.scores[scores.same], bins, alpha=0.6, density=True, label="one person")
    axes.axvline(report["threshold"], color="black", label=f"best threshold {report['threshold']:.3f}")
    axes.set(xlabel="cosine", ylabel="density")
    axes.set_title(f"{report['model']}: {report['pairs']} pairs", fontsize="medium")
    axes.legend()
    figure.savefig(folder / "scores.png", dpi=110, metadata={"Software": None})
