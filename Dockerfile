# The one image of Bolide: `bolide` (nameservers, brokers, commands) and `bolide-operator`.
#   docker build --tag bolide:dev .
# The tests make the same image without a daemon: e2e/cluster/image.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
ARG BOLIDE_COMMIT=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    BOLIDE_COMMIT=$BOLIDE_COMMIT cargo build --release --locked --bin bolide --bin bolide-operator \
    && install -D --strip target/release/bolide target/release/bolide-operator --target-directory /out

# Dynamically linked on purpose: names are resolved by the C library, with the name service of the image.
FROM debian:bookworm-slim
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/bolide"]
