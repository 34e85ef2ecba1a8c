/**
 * Makes a pack of bytes, or lists everything that is wrong with them (docs/pack-format.md).
 *
 * Nothing in the bytes is trusted, and the memory taken is bounded by their number.
 */
import { finish, type Steps } from '../concurrency/turns.js'
import { FacetError } from '../errors.js'
import { extraParts, slotParts } from '../manifest/kinds/kinds.js'
import { noSuchPart } from '../manifest/kinds/matrix.js'
import { isAffine } from '../manifest/layout.js'
import { type Design, designs, type FamilyManifest } from '../manifest/manifest.js'
import { type ExpectedTensor, expectedTensors, HEAD_BIAS, HEAD_WEIGHT, tensorName } from './expected.js'
import { kindOf } from '../bytes/file-kind.js'
import { decodeFloat16, firstNonFinite32 } from '../bytes/float16.js'
import { DEFAULT_LABEL_LIMITS, decodeMetadata, type LabelLimits } from './metadata.js'
import type { Head, Pack, PackInfo, SlotWeights } from './pack.js'
import { Problems, quote } from '../strict/problems.js'
import {
  type SafetensorsLimits,
  scanSafetensors,
  scanSteps,
  type Tensor,
} from '../safetensors/safetensors.js'

export interface ReadOptions {
  limits?: Partial<SafetensorsLimits & LabelLimits>
}

/** What a listing shows of a pack. */
export interface PackSummary extends PackInfo {
  /** Classes of its head; 0 where it serves `embed` only. */
  classes: number
  /** The weights of its head are in half precision. */
  halfHead: boolean
  /** Names of the parts of each slot that it gives. */
  slots: ReadonlyMap<string, readonly string[]>
  /** Tensors, and bytes of the file. */
  tensors: number
  bytes: number
}

/**
 * Reads a pack of `family`. The pack may share memory with `bytes`: do not change them afterwards.
 *
 * @throws FacetError `invalid_pack`; its `problems` list everything that is wrong, each with the tensor or
 * field, its value and what was expected.
 */
export function readPack(bytes: Uint8Array, family: FamilyManifest, options: ReadOptions = {}): Pack {
  return finish(readPackSteps(bytes, family, options))
}

/** The same in steps of a fraction of a millisecond. @param families one of them must be the pack's */
export function* readPackSteps(
  bytes: Uint8Array,
  families: FamilyManifest | readonly [FamilyManifest, ...FamilyManifest[]],
  options: ReadOptions = {},
): Steps<Pack> {
  checkKind(bytes)
  const { metadata, tensors, names, problems } = yield* scanSteps(bytes, options.limits)
  // Without a header nothing more can be checked.
  if (!names) throw refuse(problems)
  const info = yield* decodeMetadata(metadata, problems, { ...DEFAULT_LABEL_LIMITS, ...options.limits })
  const family = familyFor(metadata, 'name' in families ? [families] : families, problems)
  checkDesign(metadata, family, problems)
  const design = (designs as readonly string[]).includes(metadata.design ?? '')
    ? (metadata.design as Design)
    : family.design
  const values = yield* readTensors(tensors, family, design, problems)
  const slots = readSlots(values, names, family, problems)
  const head = readHead(values, names, family.features, problems)
  checkClasses(head, info, names, metadata, problems)
  if (!problems.empty || !info) throw refuse(problems)
  return { ...info, slots, head }
}

/**
 * Reads what a listing needs: the header alone, without looking at weights or at the family.
 *
 * @throws FacetError `invalid_pack` where the container or the metadata is broken.
 */
export function readPackInfo(bytes: Uint8Array, options: ReadOptions = {}): PackSummary {
  return finish(readPackInfoSteps(bytes, options))
}

/** The same in steps of a fraction of a millisecond. */
export function* readPackInfoSteps(bytes: Uint8Array, options: ReadOptions = {}): Steps<PackSummary> {
  checkKind(bytes)
  const { metadata, tensors, problems } = yield* scanSteps(bytes, options.limits)
  const info = problems.empty
    ? yield* decodeMetadata(metadata, problems, { ...DEFAULT_LABEL_LIMITS, ...options.limits })
    : null
  if (!problems.empty || !info) throw refuse(problems)
  return {
    ...info,
    classes: info.labels?.length ?? 0,
    halfHead: tensors.get(HEAD_WEIGHT)?.dtype === HALF,
    slots: partsOf(tensors.keys()),
    tensors: tensors.size,
    bytes: bytes.length,
  }
}

/** The parts of each slot among names of tensors. */
function partsOf(names: Iterable<string>): Map<string, string[]> {
  const parts = new Map<string, string[]>()
  for (const name of names) {
    if (name === HEAD_WEIGHT || name === HEAD_BIAS) continue
    const dot = name.lastIndexOf('.')
    const slot = name.slice(0, dot)
    parts.set(slot, [...(parts.get(slot) ?? []), name.slice(dot + 1)])
  }
  return parts
}

/** @throws FacetError `invalid_pack` for bytes that are recognised as something else */
function checkKind(bytes: Uint8Array): void {
  const { kind, name } = kindOf(bytes)
  if (kind === 'safetensors' || kind === 'empty' || name === '') return
  const problem = `the bytes are ${name}, and a pack is a safetensors file`
  throw new FacetError('invalid_pack', `Not a pack: ${problem}.`, { problems: [problem] })
}

/** The fingerprint of the family that a pack names, from the start of its file; null where there is no whole header. */
export function familyOf(start: Uint8Array): string | null {
  return scanSafetensors(start).metadata.family ?? null
}

function refuse(problems: Problems): FacetError {
  const list = problems.list()
  const more = problems.count > 1 ? ` (and ${problems.count - 1} more)` : ''
  return new FacetError('invalid_pack', `Not a valid pack: ${list[0]}${more}`, { problems: list })
}

/** Whether a pack of design `pack` may live in a family of design `family`. */
export function designFits(pack: Design, family: Design): boolean {
  if (pack === 'series' || pack === 'parallel') return pack === family
  return designs.indexOf(pack) <= designs.indexOf(family)
}

/**
 * The family that the pack names; the first one where it names none, which is a problem by itself. Of a pack of another
 * family no tensor is looked at: none would fit as it is.
 *
 * @param problems those found before; they are told behind this one
 * @throws FacetError `invalid_pack`
 */
function familyFor(
  metadata: Readonly<Record<string, string>>,
  families: readonly [FamilyManifest, ...FamilyManifest[]],
  problems: Problems,
): FamilyManifest {
  const named = metadata.family
  const family = named === undefined ? families[0] : families.find(({ fingerprint }) => fingerprint === named)
  if (family !== undefined) return family
  const all = new Problems()
  const compressed = families.find((family) => family.compressed?.fingerprint === named)
  const remedy =
    compressed === undefined
      ? 'Train it for this one'
      : `${quote(compressed.name)} was compressed from that family: make its pack with facet pack project, train it for this one`
  const known = families.map(
    ({ name, fingerprint }) => `family ${quote(name)} with the fingerprint ${quote(fingerprint)}`,
  )
  const those = known.length === 1 ? `this is ${known[0]}` : `these are ${known.join(', ')}`
  all.add(
    `family is ${quote(named)}, but ${those}: the pack belongs to another family, whose backbone, slots, matrices, design or input differ. ${remedy}, or serve its own`,
  )
  for (const problem of problems.list()) all.add(problem)
  throw refuse(all)
}

function checkDesign(
  metadata: Readonly<Record<string, string>>,
  family: FamilyManifest,
  problems: Problems,
): void {
  const design = designs.find((name) => name === metadata.design)
  if (design && !designFits(design, family.design)) {
    problems.add(`design is ${quote(design)}, which a family of design ${quote(family.design)} cannot hold`)
  }
}

/** The dtype of half precision. */
const HALF = 'F16'

/** The values of a tensor. */
interface Values {
  floats: Float32Array
  /** Their bits, where it gives them in half precision. */
  half?: Uint16Array
}

/** Every tensor by name, decoded and checked: name, dtype, shape, finite values. */
function* readTensors(
  tensors: ReadonlyMap<string, Tensor>,
  family: FamilyManifest,
  design: Design,
  problems: Problems,
): Steps<Map<string, Values>> {
  const expected = expectedTensors(family)
  const decoded = new Map<string, Values>()
  for (const [name, tensor] of tensors) {
    yield
    const place = expected.get(name)
    if (!place && name !== HEAD_WEIGHT && name !== HEAD_BIAS) {
      problems.add(`tensor ${quote(name)}: ${whyUnknown(name, family)}`)
      continue
    }
    if (place) checkAllowed(name, place, design, problems)
    const before = problems.count
    checkShape(name, tensor, place?.part.dims, family.features, problems)
    const values = yield* decode(name, tensor, problems)
    if (values && problems.count === before) decoded.set(name, values)
  }
  return decoded
}

/** Why no tensor of the family has this name. */
function whyUnknown(name: string, { name: family, slots }: FamilyManifest): string {
  for (const part of extraParts) {
    const slot = slots.find((slot) => name === tensorName(slot.name, part))
    if (slot) return noSuchPart(slot, part, quote(family))
  }
  return `unknown name, no such slot in family ${quote(family)}`
}

/** Notes a tensor that the pack's own design does not have. */
function checkAllowed(name: string, { part }: ExpectedTensor, design: Design, problems: Problems): void {
  if (design === 'feature')
    problems.add(`tensor ${quote(name)}: a pack of design "feature" has no slot tensors`)
  else if (design === 'bn' && !isAffine(part.name)) {
    problems.add(`tensor ${quote(name)}: a pack of design "bn" has no ${part.name}`)
  }
}

function checkShape(
  name: string,
  { shape }: Tensor,
  expected: readonly number[] | undefined,
  features: number,
  problems: Problems,
): void {
  const [rows, columns] = shape
  let want = expected && `[${expected}]`
  let fits = expected?.length === shape.length && expected.every((size, axis) => size === shape[axis])
  if (name === HEAD_WEIGHT) {
    want = `[K, ${features}]`
    fits = shape.length === 2 && rows! >= 1 && columns === features
  } else if (name === HEAD_BIAS) {
    want = '[K]'
    fits = shape.length === 1 && rows! >= 1
  }
  if (!fits) problems.add(`tensor ${quote(name)} has shape ${quote(shape)}, expected ${want}`)
}

/** Finite float32 values of an F32 or F16 tensor. Otherwise undefined, and a problem is noted. */
function* decode(name: string, { dtype, bytes }: Tensor, problems: Problems): Steps<Values | undefined> {
  if (dtype !== 'F32' && dtype !== HALF) {
    problems.add(`tensor ${quote(name)} has dtype ${dtype}, expected F32 or F16`)
    return undefined
  }
  const size = dtype === 'F32' ? 4 : 2
  // A typed array must start at a multiple of its element size, so bytes that do not are copied.
  const aligned = bytes.byteOffset % size === 0 ? bytes : yield* copied(bytes)
  const length = bytes.length / size
  let bad: number
  let floats: Float32Array
  let half: Uint16Array | undefined
  if (dtype === 'F32') {
    floats = new Float32Array(aligned.buffer, aligned.byteOffset, length)
    bad = yield* firstNonFinite(floats)
  } else {
    const decoded = new Float32Array(length)
    half = new Uint16Array(aligned.buffer, aligned.byteOffset, length)
    const areFinite = yield* decodeHalves(half, decoded)
    floats = decoded
    bad = areFinite ? -1 : yield* firstNonFinite(floats)
  }
  if (bad < 0) return half ? { floats, half } : { floats }
  problems.add(`tensor ${quote(name)}: value ${bad} is ${floats[bad]}, expected finite values`)
  return undefined
}

/** Values that are looked at in a step. */
const VALUES_A_STEP = 1 << 17

function* copied(bytes: Uint8Array): Steps<Uint8Array> {
  const copy = new Uint8Array(bytes.length)
  for (let at = 0; at < bytes.length; at += VALUES_A_STEP) {
    copy.set(bytes.subarray(at, at + VALUES_A_STEP), at)
    yield
  }
  return copy
}

/** @returns whether all values are finite */
function* decodeHalves(bits: Uint16Array, floats: Float32Array<ArrayBuffer>): Steps<boolean> {
  let finite = true
  for (let at = 0; at < bits.length; at += VALUES_A_STEP) {
    const end = at + VALUES_A_STEP
    finite = decodeFloat16(bits.subarray(at, end), floats.subarray(at, end)).finite && finite
    if (end < bits.length) yield
  }
  return finite
}

function* firstNonFinite(floats: Float32Array): Steps<number> {
  for (let at = 0; at < floats.length; at += VALUES_A_STEP) {
    const bad = firstNonFinite32(floats.subarray(at, at + VALUES_A_STEP))
    if (bad >= 0) return at + bad
    if (at + VALUES_A_STEP < floats.length) yield
  }
  return -1
}

/** A slot is given whole or not at all; its optional parts may be left out together. */
function readSlots(
  tensors: ReadonlyMap<string, Values>,
  present: ReadonlySet<string>,
  family: FamilyManifest,
  problems: Problems,
): Map<string, SlotWeights> {
  const slots = new Map<string, SlotWeights>()
  for (const slot of family.slots) {
    const weights: Record<string, Float32Array> = {}
    const given: string[] = []
    const missing: string[] = []
    let whole = true
    const parts = slotParts(slot)
    const isGiven = (part: string) => present.has(tensorName(slot.name, part))
    const withOptional = parts.some(({ name, optional }) => optional && isGiven(name))
    for (const { name: part, optional } of parts) {
      const name = tensorName(slot.name, part)
      const wanted = !optional || withOptional
      const values = tensors.get(name)?.floats
      if (values) weights[part] = values
      else if (wanted) whole = false
      if (isGiven(part)) given.push(name)
      else if (wanted) missing.push(name)
    }
    if (whole) slots.set(slot.name, weights as SlotWeights)
    if (given.length === 0) continue
    for (const name of missing)
      problems.add(
        `slot ${quote(slot.name)} has ${given.map(quote).join(' and ')} but no ${quote(name)}: a slot is given whole or not at all`,
      )
  }
  return slots
}

function readHead(
  given: ReadonlyMap<string, Values>,
  present: ReadonlySet<string>,
  features: number,
  problems: Problems,
): Head | null {
  const pairs = [
    [HEAD_WEIGHT, HEAD_BIAS],
    [HEAD_BIAS, HEAD_WEIGHT],
  ] as const
  for (const [one, other] of pairs) {
    if (present.has(one) && !present.has(other))
      problems.add(`tensor ${quote(one)} is given without ${quote(other)}`)
  }
  const { floats: weight, half } = given.get(HEAD_WEIGHT) ?? {}
  const bias = given.get(HEAD_BIAS)?.floats
  if (!weight || !bias) return null
  const classes = weight.length / features
  if (bias.length !== classes) {
    problems.add(
      `tensor ${quote(HEAD_BIAS)} has shape [${bias.length}], expected [${classes}] as ${quote(HEAD_WEIGHT)} has ${classes} rows`,
    )
  }
  return half ? { classes, weight, bias, half } : { classes, weight, bias }
}

/** Labels and head come together, one label per class. */
function checkClasses(
  head: Head | null,
  info: PackInfo | null,
  present: ReadonlySet<string>,
  metadata: Readonly<Record<string, string>>,
  problems: Problems,
): void {
  const labelled = metadata.labels !== undefined
  const headed = present.has(HEAD_WEIGHT) || present.has(HEAD_BIAS)
  if (labelled && !headed) {
    problems.add(`labels are given without a head: ${quote(HEAD_WEIGHT)} and ${quote(HEAD_BIAS)} are missing`)
  } else if (headed && !labelled) {
    problems.add('a head is given without labels: metadata field "labels" is missing')
  } else if (head && info?.labels && info.labels.length !== head.classes) {
    problems.add(
      `labels has ${info.labels.length} entries, expected ${head.classes} as ${quote(HEAD_WEIGHT)} has ${head.classes} rows`,
    )
  }
}
