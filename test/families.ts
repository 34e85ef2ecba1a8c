/**
 * Small families and packs for tests: every kind of slot, every design, no files.
 */
import { fingerprint } from '../src/manifest/fingerprint.js'
import { adapterElements, elementsOf, slotParts } from '../src/manifest/kinds/kinds.js'
import type { Design, FamilyManifest, Slot } from '../src/manifest/manifest.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'

const NO_FILE = { sha256: '0'.repeat(64), bytes: 0 }

/** A family with a convolution that takes a matrix, a strided one, and a normalisation that stands alone. */
export function tinyFamily(design: Design = 'parallel', name = 'tiny'): FamilyManifest {
  const columns = (inputs: number, outputs: number) =>
    design === 'parallel' ? inputs : design === 'series' ? outputs : 0
  const conv = (slot: string, inputs: number, outputs: number, stride: number): Slot => ({
    name: slot,
    kind: 'conv',
    in: inputs,
    out: outputs,
    kernel: [3, 3],
    stride: [stride, stride],
    columns: columns(inputs, outputs),
  })
  const slots: Slot[] =
    design === 'feature'
      ? []
      : [
          conv('stem.conv', 3, 4, 1),
          conv('blocks.0.c1.conv', 4, 5, 2),
          { name: 'norm', kind: 'norm', in: 5, out: 5, kernel: [1, 1], stride: [1, 1], columns: 0 },
        ]
  const input: FamilyManifest['input'] = {
    height: 8,
    width: 8,
    resize: 8,
    kernel: 'linear',
    mean: [0.5, 0.4, 0.3],
    std: [0.2, 0.25, 0.3],
  }
  const weights = '1'.repeat(64)
  return {
    format: 'facet-family/1',
    name,
    fingerprint: fingerprint({ weights, slots, design, input }),
    design,
    input,
    features: 5,
    slots,
    parameters: {
      trunk: 300,
      adapter: adapterElements(slots),
      head: 0,
    },
    weights,
    files: {
      'trunk.onnx': { ...NO_FILE },
      'trunk.f16.onnx': { ...NO_FILE },
      'trunk.one.onnx': { ...NO_FILE },
      'trunk.one.f16.onnx': { ...NO_FILE },
      'base.safetensors': { ...NO_FILE },
    },
    provenance: { source: 'none', created: '2026-01-01T00:00:00.000Z', tool: 'tests' },
    license: 'none',
  }
}

/** The same with factors of rank 2 in the place of the second slot's matrix. */
export function factoredFamily(): FamilyManifest {
  const family = tinyFamily()
  const slots = family.slots.map((slot, index): Slot => (index === 1 ? { ...slot, rank: 2 } : slot))
  const adapter = adapterElements(slots)
  return {
    ...family,
    slots,
    parameters: { ...family.parameters, adapter },
    fingerprint: fingerprint({ ...family, slots }),
  }
}

/** A whole pack with three classes. `value(i)` gives the weights; i counts on through all tensors. */
export function tinyPack(family: FamilyManifest, value: (i: number) => number = (i) => (i % 64) / 32): Pack {
  let i = 0
  const fill = (length: number) => new Float32Array(length).map(() => value(i++))
  const slots = new Map<string, SlotWeights>()
  for (const slot of family.slots) {
    const parts = slotParts(slot).map(({ name, dims }) => [name, fill(elementsOf(dims))])
    slots.set(slot.name, Object.fromEntries(parts) as SlotWeights)
  }
  return {
    family: family.fingerprint,
    design: family.design,
    labels: ['cat', 'dog', 'owl'],
    activation: 'softmax',
    mean: [0.5, 0.4, 0.3],
    std: [0.2, 0.25, 0.3],
    slots,
    head: { classes: 3, weight: fill(3 * family.features), bias: fill(3) },
  }
}
