/**
 * A second, independent reader of packs, for fuzzing: is this a pack of the family, and what does it contain?
 *
 * Written to be simple instead of fast or helpful: it uses `JSON.parse` and `DataView` and stops at the first
 * fault. It shares no code with `src/pack`; if the two disagree, one of them is wrong.
 */
import { isUtf8 } from 'node:buffer'
import type { FamilyManifest } from '../../src/manifest/manifest.js'

/** Every tensor's values by name. */
export type Content = Map<string, { shape: number[]; values: number[] }>

class Fault extends Error {}

function need(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Fault(what)
}

/** The content of a valid pack of `family`, or the first reason why it is not one. */
export function judge(bytes: Uint8Array, family: FamilyManifest): Content | string {
  try {
    return open(bytes, family)
  } catch (error) {
    if (error instanceof Fault || error instanceof SyntaxError) return error.message
    throw error
  }
}

function open(bytes: Uint8Array, family: FamilyManifest): Content {
  need(bytes.length >= 8, 'too short')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32
  need(length <= 1024 * 1024 && 8 + length <= bytes.length, 'header length')
  const text = bytes.subarray(8, 8 + length)
  need(text[0] === 0x7b && isUtf8(text), 'header text')
  const header = strictJson(Buffer.from(text).toString('utf8')) as Record<string, unknown>
  const content: Content = new Map()
  let metadata: Record<string, unknown> = {}
  let cursor = 8 + length
  for (const [name, entry] of Object.entries(header)) {
    need(typeof entry === 'object' && entry !== null && !Array.isArray(entry), `${name}: no object`)
    const fields = entry as Record<string, unknown>
    if (name === '__metadata__') {
      metadata = fields
      continue
    }
    need(Object.keys(fields).sort().join() === 'data_offsets,dtype,shape', `${name}: fields`)
    const { dtype, shape, data_offsets: offsets } = fields as { [field: string]: number[] | string }
    need(dtype === 'F32' || dtype === 'F16', `${name}: dtype`)
    need(
      Array.isArray(shape) && shape.length <= 2 && shape.every((size) => size >= 1 && size <= 1e6),
      `${name}: shape`,
    )
    need(
      Array.isArray(offsets) && offsets.length === 2 && offsets.every(Number.isSafeInteger),
      `${name}: offsets`,
    )
    const size = dtype === 'F32' ? 4 : 2
    const count = shape.reduce((product, dimension) => product * dimension, 1)
    need(offsets[0]! + 8 + length === cursor && offsets[0]! % size === 0, `${name}: begin`)
    need(offsets[1]! - offsets[0]! === count * size, `${name}: size`)
    need(offsets[1]! + 8 + length <= bytes.length, `${name}: beyond the end`)
    const values: number[] = []
    for (let i = 0; i < count; i++, cursor += size) {
      values.push(size === 4 ? view.getFloat32(cursor, true) : half(view.getUint16(cursor, true)))
    }
    need(values.every(Number.isFinite), `${name}: not finite`)
    content.set(name, { shape, values })
  }
  need(cursor === bytes.length, 'trailing bytes')
  const design = checkMetadata(metadata, family)
  checkTensors(content, family, design)
  const labels = metadata.labels as string | undefined
  const rows = content.get('head.weight')?.shape[0]
  need((labels === undefined) === (rows === undefined), 'labels without head or the reverse')
  if (labels !== undefined) checkLabels(strictJson(labels), rows!)
  return content
}

function checkTensors(content: Content, family: FamilyManifest, design: string): void {
  let known = 0
  const shape = (name: string) => content.get(name)?.shape.join('x')
  for (const slot of family.slots) {
    const scale = shape(`${slot.name}.scale`)
    const bias = shape(`${slot.name}.bias`)
    const wanted = matricesOf(slot)
    const given = wanted.map(([part]) => shape(`${slot.name}.${part}`))
    const matrices = given.filter((found) => found !== undefined)
    need(matrices.length === 0 || matrices.length === wanted.length, `${slot.name}: one factor of two`)
    need(scale === bias && (matrices.length === 0 || scale !== undefined), `${slot.name}: half a slot`)
    need(
      scale === undefined || (design !== 'feature' && scale === `${slot.out}`),
      `${slot.name}: scale or bias`,
    )
    need(
      matrices.length === 0 || (design !== 'bn' && wanted.every(([, size], at) => given[at] === size)),
      `${slot.name}: matrix`,
    )
    known += (scale === undefined ? 0 : 2) + matrices.length
  }
  const weight = content.get('head.weight')?.shape
  const bias = content.get('head.bias')?.shape
  need((weight === undefined) === (bias === undefined), 'half a head')
  if (weight && bias) {
    need(weight.length === 2 && bias.length === 1, 'head dimensions')
    need(weight[1] === family.features && weight[0] === bias[0], 'head shape')
    known += 2
  }
  need(known === content.size, 'unknown tensors')
}

/** The tensors of a slot's matrix, with their shapes. */
function matricesOf({ out, columns, rank }: FamilyManifest['slots'][number]): [string, string][] {
  if (columns === 0) return []
  if (rank === undefined) return [['matrix', `${out}x${columns}`]]
  return [
    ['up', `${out}x${rank}`],
    ['down', `${rank}x${columns}`],
  ]
}

/** Returns the design. */
function checkMetadata(metadata: Record<string, unknown>, family: FamilyManifest): string {
  const known = /^(format|family|design|labels|activation|mean|std|name|description|license|created|metrics)$/
  for (const [key, value] of Object.entries(metadata)) {
    need(known.test(key) && typeof value === 'string', `metadata ${key}`)
  }
  const { format, design, activation } = metadata as Record<string, string>
  need(format === 'facet-pack/1' && metadata.family === family.fingerprint, 'format or family')
  need(activation === 'softmax' || activation === 'sigmoid', 'activation')
  const fits = {
    feature: ['feature'],
    bn: ['feature', 'bn'],
    series: ['feature', 'bn', 'series'],
    parallel: ['feature', 'bn', 'parallel'],
  }
  need(fits[family.design].includes(design ?? ''), 'design')
  const mean = channels(metadata.mean)
  const std = channels(metadata.std)
  for (let i = 0; i < 3; i++) {
    need(std[i]! >= 0.0001 && std[i]! <= 10_000, 'std')
    need(Math.abs(mean[i]!) <= 10_000, 'mean')
  }
  if (metadata.metrics !== undefined) {
    const metrics = strictJson(metadata.metrics as string)
    need(typeof metrics === 'object' && metrics !== null && !Array.isArray(metrics), 'metrics')
  }
  return design!
}

function channels(text: unknown): number[] {
  need(typeof text === 'string', 'mean or std missing')
  const value = strictJson(text)
  need(
    Array.isArray(value) && value.length === 3 && value.every((item) => typeof item === 'number'),
    'channels',
  )
  return value
}

function checkLabels(labels: unknown, classes: number): void {
  need(Array.isArray(labels) && labels.length === classes && classes <= 32768, 'labels')
  need(
    labels.every((label) => typeof label === 'string' && label.trim() !== '' && label.length <= 256),
    'label',
  )
  need(new Set(labels).size === labels.length, 'duplicate label')
}

/** Parses JSON. Duplicate keys, infinite numbers, lone surrogates and deep nesting are faults. */
function strictJson(text: string): unknown {
  const value: unknown = JSON.parse(text)
  const colons = text.replace(/"(?:[^"\\]|\\.)*"/g, '').split(':').length - 1
  let keys = 0
  const walk = (node: unknown, depth: number): void => {
    if (typeof node === 'number') need(Number.isFinite(node), 'infinite number')
    if (typeof node === 'string') need(Buffer.from(node, 'utf8').toString('utf8') === node, 'lone surrogate')
    if (typeof node !== 'object' || node === null) return
    need(depth < 16, 'too deep')
    for (const [key, child] of Object.entries(node)) {
      if (!Array.isArray(node)) {
        keys++
        walk(key, depth)
      }
      walk(child, depth + 1)
    }
  }
  walk(value, 0)
  need(keys === colons, 'duplicate key')
  return value
}

function half(bits: number): number {
  const sign = bits >= 0x8000 ? -1 : 1
  const exponent = Math.floor(bits / 1024) % 32
  const fraction = (bits % 1024) / 1024
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN
  return exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15)
}
