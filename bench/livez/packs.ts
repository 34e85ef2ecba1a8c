/** Packs at the limits of what an upload may be, of the shipped family. */
import type { Family } from '../../src/family/family.js'
import type { Pack } from '../../src/pack/pack.js'
import { writePack } from '../../src/pack/write.js'
import { random, uniform } from '../random.js'

/** Labels of a pack at most (docs/pack-format.md). */
export const MOST_LABELS = 32_768

/** Bytes of a pack's header at most. */
const MOST_HEADER_BYTES = 1 << 20

/** The family's base with a head of as many labels. */
export function labelledPack(
  { base, manifest }: Family,
  labels: readonly string[],
  dtype: 'f16' | 'f32',
): Uint8Array {
  const next = random(7)
  const head = {
    classes: labels.length,
    weight: uniform(next, labels.length * manifest.features, 0.5),
    bias: new Float32Array(labels.length),
  }
  const pack: Pack = {
    ...base,
    family: manifest.fingerprint,
    design: manifest.design,
    labels: [...labels],
    head,
  }
  return writePack(pack, manifest, { dtype })
}

export function numberedLabels(count: number, length = 0): string[] {
  return Array.from({ length: count }, (_, index) => `class ${index} `.padEnd(length, 'x'))
}

/** A file of the container's format with this header and no data. */
export function rawFile(header: string, data = 0): Buffer {
  const text = Buffer.from(header)
  const file = Buffer.alloc(8 + text.length + data)
  file.writeBigUInt64LE(BigInt(text.length))
  text.copy(file, 8)
  return file
}

/** Headers that are as long as a header may be. */
export function hostileHeaders(): Record<string, Buffer> {
  const room = MOST_HEADER_BYTES - 64
  const fill = (unit: string) => unit.repeat(Math.floor(room / unit.length))
  const entry = (name: string) => `"${name}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`
  const many: string[] = []
  for (let length = 0; length < room; length += many.at(-1)!.length + 1) many.push(entry(`t${many.length}`))
  const long: string[] = []
  for (let length = 0; length < room - 2000; length += long.at(-1)!.length + 1)
    long.push(entry(`${long.length}${'n'.repeat(1000)}`))
  const labels = JSON.stringify(JSON.stringify(Array.from({ length: 60_000 }, (_, index) => `${index}`)))
  const escapes = JSON.stringify(
    JSON.stringify(Array.from({ length: 30_000 }, (_, index) => `\n${index}"\\`)),
  )
  const metadata = (field: string, text: string) => rawFile(`{"__metadata__":{"${field}":${text}}}`)
  return {
    'header: many values': rawFile(`{"a":[${fill('0,')}0]}`),
    'header: many tensors': rawFile(`{${many.slice(0, -1).join(',')}}`),
    'header: long names': rawFile(`{${long.slice(0, -1).join(',')}}`),
    'header: one long name': rawFile(`{"${fill('n')}":0}`),
    'header: escapes': rawFile(`{"${fill('\\u0041')}":0}`),
    'header: backslashes': rawFile(`{"${fill('\\\\')}":0}`),
    'header: blanks': rawFile(`{${fill(' ')}`),
    'header: deep': rawFile(`{"a":${fill('[')}`),
    'labels: 60,000': metadata('labels', labels),
    'labels: escapes': metadata('labels', escapes.slice(0, room)),
    'metrics: many values': metadata('metrics', JSON.stringify(`[${fill('0,').slice(200)}0]`)),
  }
}
