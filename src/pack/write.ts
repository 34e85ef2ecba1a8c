/**
 * A pack to bytes, the inverse of `read.ts`. The same pack gives the same bytes.
 */
import { finish, type Steps } from '../concurrency/turns.js'
import { FacetError } from '../errors.js'
import type { FamilyManifest } from '../manifest/manifest.js'
import { elementsOf, slotParts } from '../manifest/kinds/kinds.js'
import { noSuchPart } from '../manifest/kinds/matrix.js'
import { HEAD_BIAS, HEAD_WEIGHT, tensorName } from './expected.js'
import { encodeFloat16, Float16RangeError, firstNonFinite32 } from '../bytes/float16.js'
import { encodeMetadata } from './metadata.js'
import type { Pack } from './pack.js'
import { Problems, quote } from '../strict/problems.js'
import { readPackSteps } from './read.js'
import { SafetensorsError, type Tensor, writeSafetensors } from '../safetensors/safetensors.js'

export type PackDtype = 'f16' | 'f32'

export interface PackTypes {
  dtype: PackDtype
  /** Of the head's numbers; `dtype` if not given. */
  head?: PackDtype
}

/**
 * Writes a pack of `family`; what this returns, `readPack` accepts.
 *
 * @throws FacetError `invalid_pack`, its `problems` listing everything that cannot be written: misshapen
 * input, values that are not finite or overflow F16, and whatever the reader would refuse.
 */
export function writePack(pack: Pack, family: FamilyManifest, types: PackTypes): Uint8Array {
  return finish(writePackSteps(pack, family, types))
}

/** The same in steps of a fraction of a millisecond, but for the last copy of its bytes. */
export function* writePackSteps(
  pack: Pack,
  family: FamilyManifest,
  { dtype, head = dtype }: PackTypes,
): Steps<Uint8Array> {
  const problems = new Problems()
  const tensors = new Map<string, Tensor>()
  const put = function* (name: string, floats: Float32Array, shape: readonly number[], type = dtype) {
    const tensor = yield* encodeTensor({ name, floats, shape }, type, problems)
    if (tensor) tensors.set(name, tensor)
  }
  const slots = new Map(family.slots.map((slot) => [slot.name, slot]))
  for (const [name, weights] of pack.slots) {
    const slot = slots.get(name)
    if (!slot) {
      problems.add(`slot ${quote(name)}: unknown name, no such slot in family ${quote(family.name)}`)
      continue
    }
    const parts = slotParts(slot)
    for (const { name: part, dims } of parts) {
      const values = weights[part]
      if (values) yield* put(tensorName(name, part), values, dims)
    }
    for (const part of Object.keys(weights)) {
      if (!parts.some((known) => known.name === part))
        problems.add(`slot ${quote(name)}: ${noSuchPart(slot, part, quote(family.name))}`)
    }
  }
  if (pack.head) {
    yield* put(HEAD_WEIGHT, pack.head.weight, [pack.head.classes, family.features], head)
    yield* put(HEAD_BIAS, pack.head.bias, [pack.head.classes], head)
  }
  if (!problems.empty) throw refuse(problems.list())
  let bytes: Uint8Array
  try {
    bytes = writeSafetensors(tensors, encodeMetadata(pack))
  } catch (error) {
    if (!(error instanceof SafetensorsError)) throw error
    throw refuse(error.problems)
  }
  yield* readPackSteps(bytes, family)
  return bytes
}

function refuse(problems: readonly string[]): FacetError {
  return new FacetError('invalid_pack', `The pack cannot be written: ${problems[0]}`, { problems })
}

/** Numbers of a step. */
const NUMBERS_A_STEP = 1 << 17

function* encodeTensor(
  { name, floats, shape }: { name: string; floats: Float32Array; shape: readonly number[] },
  dtype: PackDtype,
  problems: Problems,
): Steps<Tensor | undefined> {
  const elements = elementsOf(shape)
  if (floats.length !== elements) {
    problems.add(`tensor ${quote(name)} has ${floats.length} values, shape [${shape}] takes ${elements}`)
    return undefined
  }
  const halves = dtype === 'f16' ? new Uint16Array(elements) : undefined
  for (let at = 0; at < elements; at += NUMBERS_A_STEP) {
    const part = floats.subarray(at, at + NUMBERS_A_STEP)
    const bad = firstNonFinite32(part)
    if (bad >= 0) {
      problems.add(`tensor ${quote(name)}: value ${at + bad} is ${part[bad]}, expected finite values`)
      return undefined
    }
    try {
      halves?.set(encodeFloat16(part), at)
    } catch (error) {
      if (!(error instanceof Float16RangeError)) throw error
      const { message } = new Float16RangeError(at + error.index, error.value)
      problems.add(`tensor ${quote(name)}: ${message}; write it as F32`)
      return undefined
    }
    yield
  }
  const { buffer, byteOffset, byteLength } = halves ?? floats
  const bytes = new Uint8Array(buffer, byteOffset, byteLength)
  return { dtype: dtype === 'f16' ? 'F16' : 'F32', shape: [...shape], bytes }
}
