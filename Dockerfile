# rowcast in a container: the program and the certificates of public authorities, without a shell, not as root.
#
#   docker build -t rowcast .
#   docker run --read-only -p 4040:4040 -e DATABASE_URL=postgres://… -e ROWCAST_JWT_SECRET=… rowcast
#
# There is no HEALTHCHECK, since there is nothing in the image that could ask. Whoever runs it asks over HTTP:
# /healthz answers while the process lives, /readyz while it follows the database. In Kubernetes:
#
#   livenessProbe:  { httpGet: { path: /healthz, port: 4040 } }
#   readinessProbe: { httpGet: { path: /readyz, port: 4040 } }
#   terminationGracePeriodSeconds: 15      # it sends its clients away within 10

FROM rust:1-slim-bookworm AS build
WORKDIR /rowcast
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY sql sql
COPY demo demo
RUN cargo build --release --locked --bin rowcast

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /rowcast/target/release/rowcast /usr/bin/rowcast
COPY LICENSE /usr/share/doc/rowcast/copyright
# Only what is published reaches it.
ENV ROWCAST__SERVER__LISTEN=0.0.0.0:4040
EXPOSE 4040
USER nonroot
ENTRYPOINT ["/usr/bin/rowcast"]
CMD ["serve"]
