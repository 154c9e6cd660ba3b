"""Documents over HTTP: XML, PDF and acuse, checked against their SHA-256; and links for a user's browser."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from cryptography.fernet import InvalidToken
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response, StreamingResponse

from api import acting
from api.authentication import Reading
from api.context import Account, ApiContext, ExternalId, TheApi
from api.problems import HttpProblem
from api.shapes import LinksShape, answers
from models.tables import documents, invoices
from models.vocabulary import DocumentKind, InvoiceStatus
from storage import Missing, StorageError

router = APIRouter(tags=["Documentos"])

LIVES = timedelta(minutes=5)
AT_ONCE = 256_000
"""Bytes up to which a document is read once; a larger one is read twice, to be checked first, and never kept whole."""
MEDIA = {"xml": "application/xml", "pdf": "application/pdf", "acuse": "application/xml"}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            media: {"schema": {"type": "string", "format": "binary"}} for media in set(MEDIA.values())
        },
        "description": "The document.",
    },
    304: {"description": "The ETag is still that."},
    **answers(404, 503),
}


def _download(kind: DocumentKind) -> Callable[..., Response]:
    def download(
        request: Request, asker: Reading, api: TheApi, account: Account, external_id: ExternalId
    ) -> Response:
        """404 with `Retry-After` while it is late."""
        with asker.reading() as (db, key):
            row = acting.find(db, key, account, external_id)
        return answer(api, row, kind, request.headers.get("if-none-match"))

    download.__name__ = f"download_{kind}"
    return download


for each in DocumentKind:  # a route of its own for each: what is none of them is no document
    router.add_api_route(
        f"/invoices/{{account}}/{{external_id}}/{each}",
        _download(each),
        methods=["GET"],
        response_class=Response,
        responses=_FILE,
        summary=f"The {each}",
    )


@router.post(
    "/invoices/{account}/{external_id}/links", response_model=LinksShape, responses=answers(404),
    summary="Links for a user's browser",
)  # fmt: skip
def links(asker: Reading, api: TheApi, account: Account, external_id: ExternalId) -> Any:
    """They live five minutes and need no key."""
    now = api.now()
    with asker.reading() as (db, key):
        row = acting.find(db, key, account, external_id)
        kinds = db.execute(
            sa.select(documents.c.kind)
            .where(documents.c.invoice_id == row.id, documents.c.quarantined_reason.is_(None))
            .order_by(documents.c.id)
        ).scalars()
        made = {kind: link_to(api, row.id, kind) for kind in kinds}
    return {"links": made, "expires_at": (now + LIVES).isoformat()}


@router.get(
    "/documents/{token}", response_class=Response,
    responses={**_FILE, **answers(410)}, summary="A document by its link",
)  # fmt: skip
def by_link(request: Request, api: TheApi, token: Annotated[str, Path(max_length=1_000)]) -> Response:
    """What `links` returned; 410 after five minutes."""
    try:
        text = api.tools.fernet.decrypt_at_time(
            token.encode(), ttl=int(LIVES.total_seconds()), current_time=int(api.now().timestamp())
        )
        invoice_id, kind = json.loads(text)["document"]
    except (InvalidToken, ValueError, KeyError, TypeError) as error:
        raise HttpProblem(
            410, "This link is no longer valid: ask for a new one.", code="link_expired"
        ) from error
    with api.reading() as db:
        row = db.execute(sa.select(invoices).where(invoices.c.id == UUID(invoice_id))).one_or_none()
    if row is None:
        raise HttpProblem(410, "This link is no longer valid: ask for a new one.", code="link_expired")
    return answer(api, row, DocumentKind(kind), request.headers.get("if-none-match"))


def link_to(api: ApiContext, invoice_id: UUID, kind: str) -> str:
    """Return a link to a document that lives five minutes."""
    text = json.dumps({"document": [str(invoice_id), kind]}).encode()
    token = api.tools.fernet.encrypt_at_time(text, int(api.now().timestamp())).decode()
    return f"{api.public_url}/v1/documents/{token}"


def answer(api: ApiContext, row: sa.Row[Any], kind: DocumentKind, known: str | None) -> Response:
    """Return a document, checked, or 304 for who has it. Raises HttpProblem where it is not there."""
    with api.reading() as db:
        document = db.execute(
            sa.select(documents).where(
                documents.c.invoice_id == row.id,
                documents.c.kind == kind,
                documents.c.quarantined_reason.is_(None),
            )
        ).one_or_none()
    if document is None:
        raise _late(api, row, kind)
    headers = {
        "ETag": f'"{document.sha256}"',
        "Content-Disposition": f'attachment; filename="{file_name(row, kind)}"',
        "Cache-Control": "private, no-cache",
    }
    if known is not None and headers["ETag"] in {
        each.strip().removeprefix("W/") for each in known.split(",")
    }:
        return Response(status_code=304, headers=headers)
    whole = document.bytes <= AT_ONCE
    digest, kept = sha256(), bytearray()
    try:
        for piece in api.tools.store.pieces(document.key):
            digest.update(piece)
            if whole:
                kept += piece
    except Missing as error:
        raise HttpProblem(
            503, "The document is not in the store; support must look.", code="document_missing"
        ) from error
    except StorageError as error:
        detail = "The document store does not answer."
        raise HttpProblem(503, detail, code="unavailable", retry_after=10) from error
    if digest.hexdigest() != document.sha256:
        raise HttpProblem(503, "The stored document is damaged; support must look.", code="document_damaged")
    if whole:
        return Response(bytes(kept), headers=headers, media_type=MEDIA[kind])
    headers["Content-Length"] = str(document.bytes)
    return StreamingResponse(api.tools.store.pieces(document.key), headers=headers, media_type=MEDIA[kind])


def _late(api: ApiContext, row: sa.Row[Any], kind: DocumentKind) -> HttpProblem:
    """Say why a document is not there, and when to ask again."""
    now = api.now()
    if kind is DocumentKind.PDF and row.pdf_due_at is not None:
        wait = max(5, int((row.pdf_due_at - now).total_seconds()) + 5)
        return HttpProblem(
            404, "The PDF is late; it is being fetched.", code="document_late", retry_after=min(wait, 3_600)
        )
    if kind is DocumentKind.ACUSE and row.status == InvoiceStatus.CANCELLING:
        return HttpProblem(404, "The SAT has not answered yet.", code="document_late", retry_after=60)
    if row.uuid is None:
        status = InvoiceStatus(row.status)
        waits = status in {
            InvoiceStatus.ACCEPTED,
            InvoiceStatus.STAMPING,
            InvoiceStatus.WAITING,
            InvoiceStatus.IN_DOUBT,
        }
        return HttpProblem(
            404,
            f"The invoice is not stamped: it is {status}.",
            code="not_stamped",
            retry_after=5 if waits else None,
        )
    return HttpProblem(404, f"There is no {kind} of this invoice.", code="no_document")


def file_name(row: sa.Row[Any], kind: str) -> str:
    """Return the name that a document is saved under: serie, folio and folio fiscal."""
    parts = [row.serie, row.folio, row.uuid, "acuse" if kind == DocumentKind.ACUSE else None]
    name = "-".join(re.sub(r"[^A-Za-z0-9]", "", part) if part != row.uuid else part for part in parts if part)
    return f"{name}.{'pdf' if kind == DocumentKind.PDF else 'xml'}"
