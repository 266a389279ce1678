# One replica: sandboxd and its nginx. It needs dockerd's socket, and its user the group of that socket:
#
#   docker build -t sandboxd .
#   docker run -v /var/run/docker.sock:/var/run/docker.sock --group-add "$(stat -c %g /var/run/docker.sock)" \
#       -e DAIV_SANDBOX_API_KEY=… -p 127.0.0.1:8000:8000 sandboxd
#
# docker-compose.yml is two of them with Redis. BASE is any Debian 12.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ENV DEBIAN_FRONTEND=noninteractive
COPY scripts/packages /src/scripts/packages
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends $(sed -n 's/^build://p' /src/scripts/packages) \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN make -C /src -j"$(nproc)" all && make -C /src install DESTDIR=/out

FROM ${BASE}
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends nginx-light ca-certificates curl libfcgi0ldbl libjson-c5 libcurl4 \
        libarchive13 libhiredis0.14 libbsd0 libmd0 libsqlite3-0 libseccomp2 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 sandboxd \
    && useradd --system --uid 10001 --gid sandboxd --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sandboxd \
    && install -d -o sandboxd -g sandboxd -m 0711 /var/lib/sandboxd
COPY --from=build /out /
COPY deploy/entrypoint /usr/local/libexec/sandboxd/entrypoint
COPY deploy/front.conf /etc/sandboxd/front.conf
ENV DAIV_SANDBOX_HOME=/var/lib/sandboxd DAIV_SANDBOX_HOST=0.0.0.0 DAIV_SANDBOX_PORT=8000
USER sandboxd
VOLUME /var/lib/sandboxd
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["sh", "-c", "exec curl -fs --max-time 4 -o /dev/null http://127.0.0.1:$DAIV_SANDBOX_PORT/-/health/"]
ENTRYPOINT ["/usr/local/libexec/sandboxd/entrypoint"]
