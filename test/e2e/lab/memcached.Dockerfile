# The cache of the real tier. BASE is what test/image/build.sh leaves.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get -q update && \
    apt-get -q -y --no-install-recommends install memcached && rm -rf /var/lib/apt/lists/*
USER 11211:11211
