/** A small family beside the shipped one: other input, other features, other slots; and packs for it. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Family } from '../src/family/family.js'
import { readFamily } from '../src/family/folder.js'
import type { SlotWeights } from '../src/pack/pack.js'
import { writePack } from '../src/pack/write.js'
import { residual } from './backbones.js'
import { random } from './networks.js'
import { build } from './trunk.js'

/** Builds it into `<dir>/<name>`: images of 10x10, 7 features. */
export async function secondFamily(dir: string, name = 'second'): Promise<Family> {
  const folder = join(dir, name)
  mkdirSync(folder, { recursive: true })
  const { files } = await build(residual().onnx(), { name })
  for (const [file, bytes] of files) writeFileSync(join(folder, file), bytes)
  return readFamily(folder)
}

/** A pack near the family's base, whose labels all begin with `prefix`. */
export function packFor(
  { base, manifest }: Pick<Family, 'base' | 'manifest'>,
  seed: number,
  prefix: string,
  classes = 5,
): Uint8Array<ArrayBuffer> {
  const next = random(seed)
  const near = (values: Float32Array) => values.map((value) => value * (1 + 0.2 * next()))
  const slots = new Map<string, SlotWeights>()
  for (const [slot, weights] of base.slots)
    slots.set(
      slot,
      Object.fromEntries(
        Object.entries(weights as Record<string, Float32Array>).map(([part, values]) => [part, near(values)]),
      ) as unknown as SlotWeights,
    )
  const { features } = manifest
  const head = {
    classes,
    weight: Float32Array.from({ length: classes * features }, next),
    bias: Float32Array.from({ length: classes }, next),
  }
  const labels = Array.from({ length: classes }, (_, index) => `${prefix}-${index}`)
  const { name: _, ...rest } = base
  return writePack({ ...rest, slots, labels, head }, manifest, { dtype: 'f32' }) as Uint8Array<ArrayBuffer>
}
