# One image holds the services; the command chooses which one runs: posts, comments, gateway or pages, or the import. It
# has no shell and nothing else that they do not need: docs/decisions/image.md.

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
    cargo build --profile dist --locked --package rejoinder \
    && install -D target/dist/rejoinder /image/usr/local/bin/rejoinder
# What the program needs of a system: the libraries that it was linked with, in their places, how names become
# addresses, and a name for its user. Certificates of authorities are in the program.
RUN ldd /image/usr/local/bin/rejoinder | grep -o '/[^ ]*' | xargs cp --dereference --parents --target-directory=/image \
    && mkdir /image/etc \
    && echo 'hosts: files dns' >/image/etc/nsswitch.conf \
    && echo 'rejoinder:x:10001:10001::/:/usr/sbin/nologin' >/image/etc/passwd \
    && echo 'rejoinder:x:10001:' >/image/etc/group \
    && for name in posts comments gateway pages import; do ln -s rejoinder /image/usr/local/bin/$name; done

FROM scratch
COPY --from=build /image/ /
COPY schema/supergraph.graphql /srv/rejoinder/supergraph.graphql
COPY --from=web /src/web/dist /srv/rejoinder/web
ENV PATH=/usr/local/bin \
    HOST=0.0.0.0 \
    SUPERGRAPH=/srv/rejoinder/supergraph.graphql \
    WEB_DIR=/srv/rejoinder/web
# The number, because Kubernetes cannot tell by a name that it is not root.
USER 10001:10001
EXPOSE 4000 4001 4002 4004
STOPSIGNAL SIGTERM
CMD ["gateway"]
