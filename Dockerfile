# syntax=docker/dockerfile:1
# Two targets: `cpu` (the default, last) and `cuda`.
#   docker build -t facet .
#   docker build -t facet:cuda --target cuda .
#   docker run -p 8080:8080 -v facet-data:/data -e FACET_ADMIN_TOKEN=... facet

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npx tsc -p tsconfig.build.json && npm prune --omit=dev

# The native runtime: one trunk for all lanes, and on a GPU adapters in its own memory.
FROM rust:1.92-slim-bookworm AS native
COPY --from=node:24-bookworm-slim /usr/local/bin/node /usr/local/bin/node
WORKDIR /app
COPY native native
RUN node native/build.mjs

FROM nvidia/cuda:12.9.1-cudnn-runtime-ubuntu24.04 AS cuda
COPY --from=node:24-bookworm-slim /usr/local/bin/node /usr/local/bin/node
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=native /app/native/build native/build
COPY package.json openapi.yaml openapi.json ./
COPY public public
COPY models models
COPY adapters adapters
# The CUDA provider is not in the npm package; its own installer fetches the matching one.
RUN node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install=cuda12
# glibc's allocator grows for an hour under mixed loads and decodes slower (docs/reliability.md, docs/experiments/2026-11-25-what-grew-in-the-soak.md).
RUN apt-get update && apt-get install -y --no-install-recommends libjemalloc2 tini && rm -rf /var/lib/apt/lists/*
ENV LD_PRELOAD=libjemalloc.so.2
ENV FACET_HOST=0.0.0.0 FACET_PORT=8080 FACET_DATA=/data FACET_DEVICE=cuda NODE_ENV=production
RUN useradd --system --uid 10001 facet && install -d -o facet /data
USER facet
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=60s CMD ["node", "-e", "fetch('http://127.0.0.1:'+process.env.FACET_PORT+'/readyz').then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"]
# Process 1 is tini, which passes signals on from its first millisecond. Node as process 1 would lose those that come
# while it boots itself, and `facet serve` would need a parent process of its own (docs/reliability.md).
ENTRYPOINT ["tini", "--", "node", "dist/src/cli.js"]
CMD ["serve"]

FROM node:24-bookworm-slim AS cpu
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=native /app/native/build native/build
COPY package.json openapi.yaml openapi.json ./
COPY public public
COPY models models
COPY adapters adapters
# glibc's allocator grows for an hour under mixed loads and decodes slower (docs/reliability.md, docs/experiments/2026-11-25-what-grew-in-the-soak.md).
RUN apt-get update && apt-get install -y --no-install-recommends libjemalloc2 tini && rm -rf /var/lib/apt/lists/*
ENV LD_PRELOAD=libjemalloc.so.2
ENV FACET_HOST=0.0.0.0 FACET_PORT=8080 FACET_DATA=/data NODE_ENV=production
RUN useradd --system --uid 10001 facet && install -d -o facet /data
USER facet
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=30s CMD ["node", "-e", "fetch('http://127.0.0.1:'+process.env.FACET_PORT+'/readyz').then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"]
# Process 1 is tini, which passes signals on from its first millisecond. Node as process 1 would lose those that come
# while it boots itself, and `facet serve` would need a parent process of its own (docs/reliability.md).
ENTRYPOINT ["tini", "--", "node", "dist/src/cli.js"]
CMD ["serve"]
