"""Makes `docs/states.md`: the diagram from the table of moves, and who makes each move.

A move that is in `models/vocabulary.py` and not in MOVES below (or the other
way round) fails a test. Whoever adds a move says here when it is made and by which function.
"""

from models.transitions import TRANSITIONS
from models.vocabulary import DUE, OPEN, AttemptOutcome, InvoiceStatus
from tools.docs.source import comments_of, table

S = InvoiceStatus

RESTORED = (
    "the database was restored: what left after its backup is not known to it",
    ("stamping/recovery/restore.py:recover",),
)
MOVES: dict[tuple[InvoiceStatus, InvoiceStatus], tuple[str, tuple[str, ...]]] = {
    (S.ACCEPTED, S.STAMPING): ("a worker claims it", ("stamping/claims.py:take",)),
    (S.ACCEPTED, S.ON_HOLD): (
        "its connection broke or was disconnected before it was claimed",
        ("stamping/connections/suspend.py:put_on_hold",),
    ),
    (S.ACCEPTED, S.REJECTED): (
        "it was sent again with other content, which is wrong",
        ("stamping/intake/submit.py:submit",),
    ),
    (S.ACCEPTED, S.FAILED): ("the 72 hours are over: `expired`", ("stamping/deadlines.py:_is_over",)),
    (S.STAMPING, S.STAMPED): ("the XML is checked and safe", ("stamping/settle.py:stamp_found",)),
    (S.STAMPING, S.REJECTED): (
        "ContaDigital or the SAT refuses its data",
        ("stamping/settle.py:rejected",),
    ),
    (S.STAMPING, S.IN_DOUBT): (
        "the answer to a save or a stamp was lost, or the worker's claim ran out while one was under way",
        ("stamping/settle.py:in_doubt", "stamping/expired_claims.py:end"),
    ),
    (S.STAMPING, S.WAITING): (
        "nothing of it left this machine, too fast, an outage; or the worker's claim ran out before anything was sent",
        ("stamping/settle.py:later", "stamping/expired_claims.py:end"),
    ),
    (S.STAMPING, S.ON_HOLD): (
        "the refusal concerns the account: its connection breaks",
        ("stamping/settle.py:on_hold",),
    ),
    (S.STAMPING, S.FAILED): (
        "the 72 hours are over before it is sent; what came back can't be believed; its record is gone after a lost "
        "answer",
        ("stamping/settle.py:failed", "stamping/settle.py:quarantined"),
    ),
    (S.IN_DOUBT, S.STAMPED): (
        "a look-up found its UUID, and the XML is safe",
        ("stamping/settle.py:stamp_found",),
    ),
    (S.IN_DOUBT, S.WAITING): (
        "look-ups say no over the whole quarantine, with a control look-up that answered: the same Id is sent again",
        ("stamping/settle.py:proven_no",),
    ),
    (S.IN_DOUBT, S.FAILED): (
        "nothing is left that could be looked up safely, or what was found can't be believed: `needs_person`",
        ("stamping/settle.py:failed", "stamping/settle.py:quarantined"),
    ),
    (S.WAITING, S.STAMPING): ("its time came and a worker claims it", ("stamping/claims.py:take",)),
    (S.WAITING, S.ON_HOLD): (
        "its connection broke or was disconnected meanwhile",
        ("stamping/connections/suspend.py:put_on_hold",),
    ),
    (S.WAITING, S.ACCEPTED): ("it was sent again with other content", ("stamping/intake/submit.py:submit",)),
    (S.WAITING, S.REJECTED): (
        "it was sent again with other content, which is wrong",
        ("stamping/intake/submit.py:submit",),
    ),
    (S.WAITING, S.FAILED): ("the 72 hours are over: `expired`", ("stamping/deadlines.py:_is_over",)),
    (S.ON_HOLD, S.WAITING): (
        "its connection is active again; or it is the one that is sent to see whether there are stamps again",
        ("stamping/connections/suspend.py:release", "stamping/claims.py:take_as_probe"),
    ),
    (S.ON_HOLD, S.ACCEPTED): (
        "it was sent again with other content, and the connection is active by now",
        ("stamping/intake/submit.py:submit",),
    ),
    (S.ON_HOLD, S.REJECTED): (
        "it was sent again with other content, which is wrong",
        ("stamping/intake/submit.py:submit",),
    ),
    (S.ON_HOLD, S.FAILED): ("the 72 hours are over: `expired`", ("stamping/deadlines.py:_is_over",)),
    (S.REJECTED, S.ACCEPTED): ("it was sent again, corrected", ("stamping/intake/submit.py:submit",)),
    (S.REJECTED, S.ON_HOLD): (
        "it was sent again, corrected, while the connection is not active",
        ("stamping/intake/submit.py:submit",),
    ),
    (S.FAILED, S.ACCEPTED): (
        "it had expired, and was sent again with other content (a new `fecha`)",
        ("stamping/intake/submit.py:submit",),
    ),
    (S.FAILED, S.REJECTED): (
        "it had expired, and what was sent again is wrong",
        ("stamping/intake/submit.py:submit",),
    ),
    (S.FAILED, S.ON_HOLD): (
        "it had expired, and was sent again while the connection is not active",
        ("stamping/intake/submit.py:submit",),
    ),
    (S.FAILED, S.IN_DOUBT): (
        "a person asked for another look (`timbrado retry`): it is looked up, not sent",
        ("stamping/intake/operator_retry.py:retry",),
    ),
    (S.STAMPED, S.CANCELLING): (
        "its cancellation is asked for",
        ("stamping/cancellation/cancel.py:request",),
    ),
    (S.CANCELLING, S.CANCELLED): (
        "ContaDigital says that it is cancelled",
        ("stamping/cancellation/cancel.py:settle_cancellation",),
    ),
    (S.CANCELLING, S.STAMPED): (
        "the SAT, the receptor or ContaDigital refused the cancellation: it stays valid",
        ("stamping/cancellation/cancel.py:settle_cancellation",),
    ),
    (S.STAMPING, S.DIFFERS): ("it is a good CFDI that says something else than what was sent", ()),
    (S.IN_DOUBT, S.DIFFERS): ("a look-up found a good CFDI that says something else than what was sent", ()),
    (S.DIFFERS, S.STAMPED): ("a person accepts it", ()),
    (S.DIFFERS, S.CANCELLING): ("its cancellation is asked for", ()),
    (S.CANCELLING, S.DIFFERS): ("the cancellation of one that differs is refused", ()),
    (S.ACCEPTED, S.WITHDRAWN): ("it is taken back", ("stamping/intake/withdraw.py:withdraw",)),
    (S.WAITING, S.WITHDRAWN): ("it is taken back", ("stamping/intake/withdraw.py:withdraw",)),
    (S.ON_HOLD, S.WITHDRAWN): ("it is taken back", ("stamping/intake/withdraw.py:withdraw",)),
    (S.REJECTED, S.WITHDRAWN): ("it is taken back", ("stamping/intake/withdraw.py:withdraw",)),
    (S.FAILED, S.WITHDRAWN): (
        "it is taken back, certainly not stamped",
        ("stamping/intake/withdraw.py:withdraw",),
    ),
    (S.FAILED, S.STAMPED): ("a person closes it with the XML of its stamp", ()),
    (S.FAILED, S.DIFFERS): ("a person closes it with the XML of a stamp that differs", ()),
    (S.ACCEPTED, S.IN_DOUBT): RESTORED,
    (S.WAITING, S.IN_DOUBT): RESTORED,
    (S.ON_HOLD, S.IN_DOUBT): RESTORED,
}

WHO_ACTS = {
    S.ACCEPTED: "nobody: a worker takes it within seconds, or as soon as its account has a free place",
    S.STAMPING: "nobody: its claim ends by itself",
    S.IN_DOUBT: "nobody in its first hour: it is looked up; then support too. Never send it again by hand",
    S.STAMPED: "nobody",
    S.REJECTED: "Apunto's user corrects it and sends it again",
    S.ON_HOLD: "Apunto's user fixes the connection; it then goes on by itself",
    S.WAITING: "nobody: `next_attempt_at` says when",
    S.FAILED: "support: see the reasons below",
    S.CANCELLING: "nobody; the receptor may have three business days to answer",
    S.CANCELLED: "nobody",
    S.DIFFERS: "a person: accept it or cancel it",
    S.WITHDRAWN: "nobody: it is over",
}


def blocks() -> dict[str, list[str]]:
    """Return the parts of the page that are made, by their names."""
    text = comments_of("models/vocabulary.py", "InvoiceStatus")
    outcomes = comments_of("models/vocabulary.py", "AttemptOutcome")
    return {
        "diagram": _diagram(),
        "statuses": table(
            "status | what it means | who must act",
            (f"| `{status}` | {text[status.name]} | {WHO_ACTS[status]} |" for status in InvoiceStatus),
        ),
        "sets": [
            f"Open, that is somebody still expects an answer: {_listed(OPEN)}.",
            f"What a worker may claim to send: {_listed(DUE)}.",
        ],
        "moves": table("from | to | when | by", _rows()),
        "outcomes": table(
            "outcome | meaning",
            (f"| `{each}` | {outcomes[each.name] or MEANINGS[each]} |" for each in AttemptOutcome),
        ),
    }


MEANINGS = {
    AttemptOutcome.DONE: "answered, and done",
    AttemptOutcome.NOT_SENT: "nothing of it left this machine: safe to send again",
    AttemptOutcome.REFUSED: "answered, and not done",
    AttemptOutcome.LOST: "it may have been done: looked up before anything else",
}


def _diagram() -> list[str]:
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {status}" for status in (S.ACCEPTED, S.ON_HOLD, S.REJECTED)]
    for source, targets in TRANSITIONS.items():
        lines += [f"    {source} --> {target}" for target in InvoiceStatus if target in targets]
    lines += [f"    {status} --> [*]" for status, targets in TRANSITIONS.items() if not targets]
    return [*lines, "```"]


def _rows() -> list[str]:
    rows = []
    for source, targets in TRANSITIONS.items():
        for target in InvoiceStatus:
            if target in targets:
                when, places = MOVES[source, target]
                by = ", ".join(f"`{place}`" for place in places) or "—"
                rows.append(f"| `{source}` | `{target}` | {when} | {by} |")
    return rows


def _listed(statuses: frozenset[InvoiceStatus]) -> str:
    return ", ".join(f"`{status}`" for status in InvoiceStatus if status in statuses)
