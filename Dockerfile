# The first stage installs everything; the second copies it without what pip leaves behind.
FROM python:3.11.17-slim-bookworm@sha256:2333bd330d12de02514770b3585cad313644316047cdee24a7acfdece6de6efb AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements-all.txt /tmp/
RUN /opt/venv/bin/pip install --only-binary :all: -r /tmp/requirements-all.txt
COPY . /tmp/takhin
RUN /opt/venv/bin/pip install --no-deps /tmp/takhin

FROM python:3.11.17-slim-bookworm@sha256:2333bd330d12de02514770b3585cad313644316047cdee24a7acfdece6de6efb
# This image's SQLite may have the WAL-reset bug; if so, the log uses journal mode TRUNCATE.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TAKHIN_HOST=0.0.0.0 \
    TAKHIN_PORT=8080 \
    TAKHIN_DATA_DIR=/data
RUN groupadd --gid 10001 takhin \
    && useradd --uid 10001 --gid takhin --no-create-home --home-dir /data --shell /usr/sbin/nologin takhin \
    && install -d -o takhin -g takhin -m 0700 /data
COPY --from=packages /opt/venv /opt/venv
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['TAKHIN_PORT'] + '/api/health/live', timeout=3)"]
STOPSIGNAL SIGTERM
CMD ["takhin", "serve"]
