/**
 * Feeds mutated packs to the reader and checks each of its answers against `oracle.ts`.
 *
 * Used by `npm run fuzz` (a million packs) and by the tests (a few seconds).
 */
import { FacetError } from '../../src/errors.js'
import type { FamilyManifest } from '../../src/manifest/manifest.js'
import type { Pack } from '../../src/pack/pack.js'
import { readPack } from '../../src/pack/read.js'
import { readSafetensors, writeSafetensors } from '../../src/safetensors/safetensors.js'
import { writePack } from '../../src/pack/write.js'
import { mutate, Random } from './mutations.js'
import { type Content, judge } from './oracle.js'

/** A pack that takes more CPU time than this counts as a hang; a slow machine stays far below. */
const HANG_MS = 5000
/** Bounds of a refusal, which is an answer to a client: number of problems, and characters of each. */
const MAX_PROBLEMS = 101
const MAX_PROBLEM_CHARACTERS = 1000

export interface Violation {
  /** Number of the pack in the run, from 0. Together with the seed it makes the pack again. */
  index: number
  steps: string[]
  what: string
  bytes: Uint8Array
}

export interface FuzzCount {
  packs: number
  refused: number
  accepted: number
  violations: Violation[]
}

/** A family and valid packs of it, to be mutated. */
export interface FuzzTarget {
  family: FamilyManifest
  packs: Uint8Array[]
}

/** The packs from which fuzzing starts: in F32, in F16, in both mixed, and without a head. */
export function fuzzTarget(family: FamilyManifest, pack: Pack): FuzzTarget {
  const f32 = writePack(pack, family, { dtype: 'f32' })
  const named = { ...pack, name: 'ünï', metrics: { top1: 0.9 } }
  const f16 = writePack(named, family, { dtype: 'f16' })
  const embed = writePack({ ...pack, head: null, labels: null, activation: 'sigmoid' }, family, {
    dtype: 'f32',
  })
  const { tensors, metadata } = readSafetensors(f32)
  for (const [name, tensor] of readSafetensors(f16).tensors) {
    if (name.endsWith('bias')) tensors.set(name, tensor)
  }
  return { family, packs: [f32, f16, writeSafetensors(tensors, metadata), embed] }
}

export type Reader = (bytes: Uint8Array, family: FamilyManifest) => Pack

/**
 * Tries packs until `stop` returns true. Pack `i` depends only on the seed and `i`.
 *
 * @param progress called after every thousand packs.
 * @param read the reader under test.
 */
export function fuzzPacks(
  targets: readonly FuzzTarget[],
  seed: number,
  stop: (packs: number) => boolean,
  progress: (count: FuzzCount) => void = () => {},
  read: Reader = readPack,
): FuzzCount {
  const count: FuzzCount = { packs: 0, refused: 0, accepted: 0, violations: [] }
  while (!stop(count.packs)) {
    const index = count.packs++
    const random = new Random(Math.imul(index + 1, 0x9e3779b1) ^ seed)
    const { family, packs } = random.pick(targets)
    const { bytes, steps } = mutate(packs, random)
    const before = process.cpuUsage()
    const outcome = check(bytes, family, read)
    if (outcome.accepted) count.accepted++
    else count.refused++
    let what = outcome.violation
    const { user, system } = process.cpuUsage(before)
    if ((user + system) / 1000 > HANG_MS) what ??= `took more than ${HANG_MS} ms`
    if (what !== null) count.violations.push({ index, steps, what, bytes })
    if (count.packs % 1000 === 0) progress(count)
  }
  return count
}

/** Reads one pack and says what is wrong with the reader's answer; `violation` is null if nothing is. */
export function check(
  bytes: Uint8Array,
  family: FamilyManifest,
  read: Reader = readPack,
): { accepted: boolean; violation: string | null } {
  let answer: Pack | readonly string[]
  try {
    answer = read(bytes, family)
  } catch (error) {
    if (!(error instanceof FacetError) || error.code !== 'invalid_pack') {
      return { accepted: false, violation: `crash: ${error instanceof Error ? error.stack : error}` }
    }
    answer = error.problems
  }
  return { accepted: !Array.isArray(answer), violation: disagreement(answer, bytes, family) }
}

function disagreement(
  answer: Pack | readonly string[],
  bytes: Uint8Array,
  family: FamilyManifest,
): string | null {
  const verdict = judge(bytes, family)
  if (Array.isArray(answer)) {
    if (typeof verdict !== 'string') return `refused a valid pack: ${answer.join('; ')}`
    if (answer.length === 0 || answer.length > MAX_PROBLEMS) return `refused with ${answer.length} problems`
    const bad = answer.find((problem) => problem === '' || problem.length > MAX_PROBLEM_CHARACTERS)
    return bad === undefined ? null : `a problem of ${bad.length} characters`
  }
  if (typeof verdict === 'string') return `accepted wrongly: ${verdict}`
  const pack = answer as Pack
  const difference = compare(pack, verdict)
  if (difference) return difference
  const written = writePack(pack, family, { dtype: 'f32' })
  const again = compare(readPack(written, family), verdict)
  return again && `after writing and reading: ${again}`
}

/** The first difference between the pack's weights and the file's; null if they are equal to the bit. */
function compare(pack: Pack, content: Content): string | null {
  const tensors = new Map<string, Float32Array>()
  for (const [name, parts] of pack.slots) {
    for (const [part, values] of Object.entries(parts)) tensors.set(`${name}.${part}`, values)
  }
  if (pack.head) {
    tensors.set('head.weight', pack.head.weight)
    tensors.set('head.bias', pack.head.bias)
    if (pack.head.classes !== pack.labels?.length) return 'classes and labels differ'
  }
  if (tensors.size !== content.size) return `${tensors.size} tensors instead of ${content.size}`
  for (const [name, { values }] of content) {
    const floats = tensors.get(name)
    if (floats?.length !== values.length) return `${name} is missing or of another size`
    const at = values.findIndex((value, i) => !Object.is(value, floats[i]))
    if (at >= 0) return `${name}[${at}] is ${floats[at]} instead of ${values[at]}`
  }
  return null
}
