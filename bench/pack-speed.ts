/**
 * `npm run build && node dist/bench/pack-speed.js`: measures the time to read, write and lay out a pack of a
 * full-width ResNet-26 (650,000 adapter values, 100 classes), ms. Needs no model.
 */
import { bankLayout } from '../src/manifest/layout.js'
import type { FamilyManifest, Slot } from '../src/manifest/manifest.js'
import { readPack, readPackInfo } from '../src/pack/read.js'
import { packRow } from '../src/engine/row.js'
import { writePack } from '../src/pack/write.js'
import { tinyFamily, tinyPack } from '../test/families.js'

const REPEATS = 80

/** The paper's network: a stem, then three stages of eight 3x3 convolutions, doubling their channels. */
function fullWidth(): FamilyManifest {
  const conv = (name: string, inputs: number, outputs: number): Slot => ({
    name,
    kind: 'conv',
    in: inputs,
    out: outputs,
    kernel: [3, 3],
    stride: [1, 1],
    columns: inputs,
  })
  const slots = [conv('stem.conv', 3, 32)]
  for (const width of [64, 128, 256]) {
    for (let i = 0; i < 8; i++)
      slots.push(conv(`stage${width}.${i}.conv`, i === 0 ? width / 2 : width, width))
  }
  return { ...tinyFamily(), name: 'full-width', features: 256, slots }
}

function measure(what: string, work: () => unknown): void {
  const times: number[] = []
  for (let i = 0; i < REPEATS; i++) {
    const start = performance.now()
    work()
    times.push(performance.now() - start)
  }
  times.sort((a, b) => a - b)
  const [least, median] = [times[0]!, times[REPEATS / 2]!]
  console.log(`${what.padEnd(24)} ${least.toFixed(2).padStart(6)} ${median.toFixed(2).padStart(6)}`)
}

const family = fullWidth()
const layout = bankLayout(family)
const classes = 100
const pack = {
  ...tinyPack(family, (i) => ((i * 7919) % 1000) / 1000 - 0.5),
  labels: Array.from({ length: classes }, (_, i) => `class ${i}`),
  head: {
    classes,
    weight: new Float32Array(classes * family.features).fill(0.1),
    bias: new Float32Array(classes),
  },
}
console.log(`${layout.elements} values; ms       least median`)
for (const dtype of ['f32', 'f16'] as const) {
  const bytes = writePack(pack, family, { dtype })
  const shifted = new Uint8Array(bytes.length + 1)
  shifted.set(bytes, 1)
  measure(`read ${dtype}`, () => readPack(bytes, family))
  measure(`read ${dtype}, unaligned`, () => readPack(shifted.subarray(1), family))
  measure(`read the header alone`, () => readPackInfo(bytes))
  measure(`write ${dtype}`, () => writePack(pack, family, { dtype }))
  measure(`row of an ${dtype} bank`, () => packRow(pack, pack, family, layout, dtype))
}
