#!/usr/bin/env bash
# On the GPU machine, in a copy of the project that has .gpu/ (bench/gpu/prepare.sh): unpacks it to /opt/facet, and opens
# the shipped trunk there by the CUDA provider, once by onnxruntime-node and once by the add-on.
# usage: bash .gpu/unpack.sh [TARGET]
set -euo pipefail
to=${1:-/opt/facet}
mkdir -p "$to"
for part in a b; do
  python3 - "$part" "$to" <<'PY'
import sys, tarfile
tarfile.open(f'.gpu/{sys.argv[1]}.tar.xz').extractall(sys.argv[2])
PY
done
cp "$to"/ort/* "$to/node_modules/onnxruntime-node/bin/napi-v6/linux/x64/"
# What the package has beside what is built, which the service reads when it starts, and the images of the benchmark.
python3 -c 'import json; print(*(name for name in json.load(open("package.json"))["files"] if "/" not in name), "package.json", "samples", sep="\n")' |
  while read -r item; do cp -r "$item" "$to/"; done
# CUDA and cuDNN, as PyTorch's packages bring them.
nvidia=$(python3 - <<'PY'
import glob, os, site
roots = site.getsitepackages()
print(':'.join(folder for root in roots for folder in glob.glob(os.path.join(root, 'nvidia', '*', 'lib'))))
PY
)
cat >"$to/env" <<ENV
export PATH=$to:\$PATH
export LD_LIBRARY_PATH=$nvidia:\${LD_LIBRARY_PATH:-}
ENV
. "$to/env"
cd "$to"
cat >probe.mjs <<'JS'
import { pino } from 'pino'
import { systemClock } from './dist/src/concurrency/clock.js'
import { Engine } from './dist/src/engine/engine.js'
import { readFamily } from './dist/src/family/folder.js'
import { loadNative } from './dist/src/native/addon.js'
const family = await readFamily('models/resnet26-half')
const device = { kind: process.argv[2] ?? 'cuda', id: 0 }
const shared = { family, rows: 4, bankDtype: 'f32', device, lanes: 1, threads: 1, clock: systemClock }
const logger = pino({ level: 'silent' })
for (const how of [{ bankMode: 'compact' }, { bankMode: 'device', native: loadNative(), deviceOptions: {} }]) {
  const start = performance.now()
  const engine = new Engine({ ...shared, ...how, logger })
  await engine.start().then(
    () => console.log(`${how.bankMode}: ${engine.provider} answers, ${Math.round(performance.now() - start)} ms`),
    (error) => console.log(`${how.bankMode}: ${error.message}`),
  )
  await engine.stop()
}
JS
node probe.mjs "${FACET_PROBE:-cuda}"
