"""What schemathesis loads beside its own checks: real ids in the requests, and nothing of another account in an answer.

It runs in schemathesis's own environment, so it imports nothing of ours. FUZZ_FACTS names a JSON file: `mine` and
`theirs` are [account, external_id] pairs, `secrets` the texts of the other account that no answer may hold, `calls` the
file that each call is written to.
"""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import schemathesis

FACTS = json.loads(Path(os.environ["FUZZ_FACTS"]).read_text(encoding="utf-8"))
PAIRS = itertools.cycle([*FACTS["mine"][:3], FACTS["theirs"][0], *FACTS["mine"][3:], *FACTS["theirs"][1:]])
COUNT = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Put real ids in the place of three of four generated ones."""
    if next(COUNT) % 4 == 0:
        return
    real = dict(zip(("account", "external_id"), next(PAIRS), strict=True))
    for values, names in (
        (case.path_parameters, set(real)),
        (case.query, {"account"}),
        (case.body, {"account"}),
    ):
        for name in names & set(values if isinstance(values, dict) else ()):
            generated = values[name]
            if isinstance(generated, str) and generated.isprintable() and 0 < len(generated) <= 100:
                values[name] = real[name]


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Two things are as documented: many wrong keys get a 429, and one Idempotency-Key twice gets the state alone."""
    is_repeated = failure.code == "ST201" and "idempotency-key" in response.request.headers
    return "429 Too Many Requests" not in failure.message and not is_repeated


@schemathesis.check
def nothing_of_another_account(context: Any, response: Any, case: Any) -> None:
    request = response.request
    with Path(FACTS["calls"]).open("a", encoding="utf-8") as calls:
        calls.write(f"{case.id} {request.method} {case.operation.path} {response.status_code}\n")
    asked = f"{request.url} {request.body!r}"
    found = [each for each in FACTS["secrets"] if each.encode() in response.content and each not in asked]
    if found:
        raise AssertionError(f"another account's {found} in the answer")
