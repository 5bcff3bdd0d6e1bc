"""From a candidate to a registered version, with all that belongs to it."""

import json
import logging
import time
from collections.abc import Sequence

from covertype import card, evidence, plots
from covertype.candidates import Candidate, Score
from covertype.dataset import Rows, split
from covertype.errors import PipelineError
from covertype.evaluation import evaluate
from covertype.evidence import Evidence
from covertype.export import export
from covertype.insight import examine
from covertype.registry import Registry
from covertype.training import available_cpus, fit, params_of

_log = logging.getLogger(__name__)


class UnservableError(PipelineError):
    """A candidate that was fitted cannot be served."""


def fit_and_register(
    candidate: Candidate,
    scores: Sequence[Score],
    run_id: str,
    rows: Rows,
    registry: Registry,
) -> int:
    """Fit a candidate to all but the held-out rows, check, describe and register it.

    Args:
        candidate: What to fit.
        scores: Of the candidates it was chosen from; empty for one that was not chosen.
        run_id: The run in progress in MLflow, which the figures, the plots, the model card and the
            evidence for the gate are stored with.
        rows: The load.
        registry: Where it is registered.

    Returns:
        The version's number.

    Raises:
        UnservableError: It exceeds the serving budget, or its conversion differs.
    """
    parts = split(rows)
    started = time.perf_counter()
    estimator = fit(candidate, parts.fit, threads=available_cpus())
    fit_seconds = time.perf_counter() - started
    try:
        model = export(estimator, parts.test.features)
    except PipelineError as error:
        raise UnservableError(str(error)) from error
    figures = evaluate(parts.test.labels, model.predicted)
    insight = examine(candidate, model, parts)
    text = card.write(candidate, model, figures, insight, parts, rows.fingerprint)
    proof = Evidence(parts.fit.hashes, parts.test.features, model.expected)
    registry.log(
        params_of(candidate),
        {
            **figures,
            **model.figures(),
            "fit_seconds": fit_seconds,
            "fit_rows": float(len(parts.fit)),
            "test_rows": float(len(parts.test)),
        },
    )
    registry.tag_run(_data_tags(rows))
    registry.log_files(
        {
            **plots.draw(candidate, parts.test.labels, model.predicted, insight, scores),
            "model_card.md": text.encode(),
            evidence.FILE_NAME: proof.dump(),
        }
    )
    version = registry.register(
        model, run_id, {"candidate": candidate.name, "data_sha256": rows.fingerprint}, text
    )
    _log.info("Version %d (%s): %s", version, candidate.name, figures)
    return version


def _data_tags(rows: Rows) -> dict[str, str]:
    return {
        "data_rows": str(len(rows)),
        "data_sha256": rows.fingerprint,
        "data_rows_per_batch": json.dumps(rows.batch_counts()),
    }
