"""The webhook that the worker calls."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from timbrado_client.django.models import record
from timbrado_client.errors import EventUnreadable, VerificationFailed
from timbrado_client.webhook import verify


@csrf_exempt  # the signature says who sends it
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Record a signed event: 204 once it is safe, 400 for what the worker did not send."""
    try:
        event = verify(request.body, request.headers, settings.TIMBRADO_WEBHOOK_SECRET)
    except (VerificationFailed, EventUnreadable):
        return HttpResponse(status=400)
    record(event)
    return HttpResponse(status=204)
