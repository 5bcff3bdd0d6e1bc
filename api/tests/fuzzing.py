"""Requests drawn from the OpenAPI document: ``python -m tests.fuzzing URL EXAMPLES``.

Half of them fit the document and half break it in some way. Each answer is checked against the
document as well: no 5xx, a documented status, the documented shape, and no 2xx to what is wrong.
"""

import argparse
import json
from collections import Counter
from contextlib import suppress
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Verbosity, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Err
from schemathesis.schemas import APIOperation

# schemathesis does not know that a list may be too long.
_CONFIG = schemathesis.Config.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": [400, 404, 413, 422]}}}
)


def fuzz(url: str, examples: int, derandomize: bool) -> Counter[int]:
    """Send requests to every documented operation.

    Args:
        url: Address of the API.
        examples: At most so many different requests for each operation and each kind.
        derandomize: Whether every run draws the same.

    Returns:
        How many answers there were, by status.

    Raises:
        Exception: An answer is not what the document says (several, as an exception group).
    """
    statuses: Counter[int] = Counter()
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=_CONFIG)
    bounded = settings(
        max_examples=examples,
        deadline=None,
        derandomize=derandomize,
        database=None,
        suppress_health_check=list(HealthCheck),
        # What is printed is the result alone; an exception tells by itself how to repeat it.
        verbosity=Verbosity.quiet,
    )
    with requests.Session() as session:
        for found in schema.get_all_operations():
            if isinstance(found, Err):
                raise found.err()
            for mode in GenerationMode:
                _fuzz_operation(found.ok(), mode, url, session, bounded, statuses)
    return statuses


def _fuzz_operation(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    url: str,
    session: requests.Session,
    bounded: settings,
    statuses: Counter[int],
) -> None:
    @bounded
    @given(operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case[Any]) -> None:
        answer = case.call(base_url=url, session=session)
        statuses[answer.status_code] += 1
        case.validate_response(answer)

    with suppress(Unsatisfiable):  # nothing can be wrong about a request without parameters
        run()


def main() -> None:
    """Fuzz one API and print how often it answered with each status, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("examples", type=int)
    given_ = parser.parse_args()
    statuses = fuzz(given_.url, given_.examples, derandomize=False)
    print(json.dumps(dict(sorted(statuses.items()))))


if __name__ == "__main__":
    main()
