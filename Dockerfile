# syntax=docker/dockerfile:1
# One image holds the services; the command chooses which one runs: posts, comments, gateway or pages.

FROM node:22.22.0-bookworm-slim AS web
WORKDIR /src/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci
COPY schema/*.graphql /src/schema/
COPY client/src /src/client/src
COPY web ./
RUN npm run build

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# The caches keep the registry and the built dependencies between builds; what the image needs is
# copied out of them in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin posts --bin comments --bin gateway --bin pages \
        --package posts --package comments --package gateway --package pages \
    && mkdir /out \
    && cp target/dist/posts target/dist/comments target/dist/gateway target/dist/pages /out/

FROM debian:bookworm-20260202-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin rejoinder
COPY --from=build /out/ /usr/local/bin/
COPY --chmod=755 containers/make-secrets.sh /usr/local/bin/make-secrets
COPY schema/supergraph.graphql /srv/rejoinder/supergraph.graphql
COPY --from=web /src/web/dist /srv/rejoinder/web
ENV HOST=0.0.0.0 \
    SUPERGRAPH=/srv/rejoinder/supergraph.graphql \
    WEB_DIR=/srv/rejoinder/web
USER rejoinder
EXPOSE 4000 4001 4002 4004
STOPSIGNAL SIGTERM
CMD ["gateway"]
