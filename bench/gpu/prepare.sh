#!/usr/bin/env bash
# Packs what a bare GPU machine lacks into .gpu/ of the project (ignored by git): Node, production dependencies, the built
# project, the add-on, and ONNX Runtime's CUDA provider for CUDA 13, reduced to one architecture. There:
#   bash .gpu/unpack.sh && . /opt/facet/env && cd /opt/facet && node dist/bench/gpu/index.js --out bench-gpu.json
# usage, in the project's root, after npm ci and npm run native:build:  bench/gpu/prepare.sh [SM]   (90: H100, H200)
set -euo pipefail
sm=${1:-90}
here=$(cd "$(dirname "$0")" && pwd)
root=$PWD
addon=native/build/facet-linux-x64.node
[ -e "$addon" ] || { echo "$addon is missing: npm run native:build" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(node -p "require('./node_modules/onnxruntime-node/package.json').version")
npm run --silent build
mkdir -p .gpu "$work/a" "$work/b/ort" "$work/b/native/build"

# a: Node and production dependencies, for linux/x64
cp "$(readlink -f "$(command -v node)")" "$work/a/node"
strip "$work/a/node" 2>/dev/null || true
cp package.json package-lock.json .npmrc "$work/a/"
(cd "$work/a" && npm ci --omit=dev --no-audit --no-fund --silent)
find "$work/a/node_modules/onnxruntime-node/bin/napi-v6" -mindepth 2 -maxdepth 2 -type d ! -path '*linux/x64' -exec rm -rf {} +
mv "$work/a/node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1" "$work/b/ort/"
rm -rf "$work"/a/node_modules/@img/*musl* "$work"/a/node_modules/@types "$work"/a/node_modules/swagger-ui-dist/*-es-bundle*
find "$work/a/node_modules" -name '*.map' -delete

# b: the built project, the add-on, and the provider of the same version
cp -r dist "$work/b/"
cp "$addon" "$work/b/native/build/"
pip download -q --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 -d "$work" "onnxruntime-gpu==$version"
python3 -c 'import zstandard' 2>/dev/null || pip install -q zstandard
(cd "$work" && python3 -m zipfile -e onnxruntime_gpu-*.whl wheel)
capi=$work/wheel/onnxruntime/capi
cp "$capi/libonnxruntime_providers_shared.so" "$work/b/ort/"
python3 "$here/slim.py" "$capi/libonnxruntime_providers_cuda.so" "$work/b/ort/libonnxruntime_providers_cuda.so" "$sm"
cp "$here/unpack.sh" .gpu/
for part in a b; do
  tar -C "$work/$part" -cf - . | xz -4 -T0 >"$root/.gpu/$part.tar.xz"
done
ls -la "$root/.gpu"
