# A gateway in a container: the binary, and nothing of how it was made.
#
# Base images are arguments: take your own mirror of them, or pin them by digest. The second one needs a C library as new as
# the first one's, and no shell.
ARG BUILD_IMAGE=docker.io/library/rust:1-slim-bookworm
ARG RUN_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY sdk sdk
COPY src src
# The call that `callgate demo` plays.
COPY tests/data/asterisk22-basic tests/data/asterisk22-basic
RUN mkdir /empty && cargo build --locked --release --package callgate --bin callgate

FROM ${RUN_IMAGE}
COPY --from=build /source/target/release/callgate /usr/local/bin/callgate
# The config, certificates and the ledger: mount a volume here. Nothing else is ever written, so the root can be read-only.
COPY --from=build --chown=2748:2748 /empty /callgate
WORKDIR /callgate
# By number: who checks that it isn't root need not look into the image.
USER 2748:2748
# The clear door, the TLS door, the administration, HEP, and the metrics page with health.
EXPOSE 2748/tcp 2749/tcp 8443/tcp 9060/udp 9464/tcp
ENTRYPOINT ["/usr/local/bin/callgate"]
CMD ["serve", "--config", "callgate.toml"]
