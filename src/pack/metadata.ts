/**
 * A pack's `__metadata__`: everything of a pack but its weights, as strings, which is what safetensors
 * allows.
 *
 * The format is in docs/pack-format.md. Reading lists every problem; an unknown field is a problem too.
 */
import { type Design, designs } from '../manifest/manifest.js'
import type { Steps } from '../concurrency/turns.js'
import { type JsonValue, parseJsonSteps, toPlain } from '../strict/json.js'
import { JsonError } from '../strict/json-error.js'
import { type Activation, PACK_FORMAT, type PackInfo } from './pack.js'
import { type Problems, quote } from '../strict/problems.js'

export interface LabelLimits {
  /** Most labels, and the longest label in UTF-16 units. */
  labels: number
  labelLength: number
}

/** Most levels of nesting in a field's JSON. */
const MAX_DEPTH = 16
/**
 * Most values in a field's JSON: twice the labels that are accepted, so that an error can say how many there
 * are.
 */
const MAX_VALUES = 1 << 16

/** Enough for ImageNet-21k, which has 21,841 classes. */
export const DEFAULT_LABEL_LIMITS: LabelLimits = { labels: 32768, labelLength: 256 }

/** Labels that are checked in a step. */
const LABELS_A_STEP = 1000

const REQUIRED = ['format', 'family', 'design', 'activation', 'mean', 'std']
const TEXTS = ['name', 'description', 'license', 'created'] as const
const KNOWN = new Set([...REQUIRED, ...TEXTS, 'labels', 'metrics'])

/** The metadata as the file holds it. Checks nothing: `writePack` reads back what it wrote. */
export function encodeMetadata(info: PackInfo): Record<string, string> {
  const metadata: Record<string, string> = {
    format: PACK_FORMAT,
    family: info.family,
    design: info.design,
    activation: info.activation,
    mean: JSON.stringify(info.mean),
    std: JSON.stringify(info.std),
  }
  if (info.labels !== null) metadata.labels = JSON.stringify(info.labels)
  for (const field of TEXTS) if (info[field] !== undefined) metadata[field] = info[field]
  if (info.metrics !== undefined) metadata.metrics = JSON.stringify(info.metrics)
  return metadata
}

/** Reads the metadata, in steps; null where a field is missing or wrong, and `problems` names each. */
export function* decodeMetadata(
  metadata: Readonly<Record<string, string>>,
  problems: Problems,
  limits: LabelLimits,
): Steps<PackInfo | null> {
  const before = problems.count
  for (const field of REQUIRED) {
    if (metadata[field] === undefined) problems.add(`metadata field ${quote(field)} is missing`)
  }
  for (const field of Object.keys(metadata)) {
    if (!KNOWN.has(field)) problems.add(`metadata field ${quote(field)} is unknown`)
  }
  const { format, design, activation } = metadata
  if (format !== undefined && format !== PACK_FORMAT) {
    problems.add(`format is ${quote(format)}, expected ${quote(PACK_FORMAT)}`)
  }
  if (design !== undefined && !(designs as readonly string[]).includes(design)) {
    problems.add(`design is ${quote(design)}, expected one of ${designs.join(', ')}`)
  }
  if (activation !== undefined && activation !== 'softmax' && activation !== 'sigmoid') {
    problems.add(`activation is ${quote(activation)}, expected "softmax" or "sigmoid"`)
  }
  const mean = yield* readChannels('mean', metadata.mean, problems)
  const std = yield* readChannels('std', metadata.std, problems)
  if (mean && std) checkNormalisation(mean, std, problems)
  const labels = yield* readLabels(metadata.labels, problems, limits)
  const metrics = yield* readMetrics(metadata.metrics, problems)
  if (problems.count > before || !mean || !std || metadata.family === undefined) return null

  const info: PackInfo = {
    family: metadata.family,
    design: design as Design,
    labels,
    activation: activation as Activation,
    mean,
    std,
  }
  for (const field of TEXTS) if (metadata[field] !== undefined) info[field] = metadata[field]
  if (metrics) info.metrics = metrics
  return info
}

/** A field's JSON. Where it is not JSON: undefined, and a problem is noted. */
function* readJson(field: string, text: string, problems: Problems): Steps<JsonValue | undefined> {
  try {
    const { value, duplicates } = yield* parseJsonSteps(text, { maxDepth: MAX_DEPTH, maxValues: MAX_VALUES })
    for (const path of duplicates) problems.add(`${field} has the key ${quote(path)} twice`)
    return value
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    problems.add(`${field} is not JSON: ${error.message}`)
    return undefined
  }
}

function* readChannels(
  field: string,
  text: string | undefined,
  problems: Problems,
): Steps<[number, number, number] | undefined> {
  const value = text === undefined ? undefined : yield* readJson(field, text, problems)
  if (value === undefined) return undefined
  if (!Array.isArray(value) || value.length !== 3 || value.some((item) => typeof item !== 'number')) {
    problems.add(`${field} is ${quote(value)}, expected a JSON array of three numbers (RGB, 0-1 scale)`)
    return undefined
  }
  return value as [number, number, number]
}

/**
 * Bounds of mean and std, on the 0-1 scale. They keep what the trunk gets, `pixel / (255 std) - mean / std`,
 * far from the ends of float32. A std of 1/255 must be possible: it is that of images of one colour, and
 * leaves pixels on the 0-255 scale.
 */
const STD = { least: 1e-4, most: 1e4 }
const MOST_MEAN = 1e4

function checkNormalisation(mean: number[], std: number[], problems: Problems): void {
  const check = (field: string, values: number[], least: number, most: number) => {
    values.forEach((value, channel) => {
      if (value >= least && value <= most) return
      problems.add(
        `${field} is ${quote(values)}, but ${field}[${channel}] must lie between ${least} and ${most} (RGB, 0-1 scale)`,
      )
    })
  }
  check('mean', mean, -MOST_MEAN, MOST_MEAN)
  check('std', std, STD.least, STD.most)
}

function* readLabels(
  text: string | undefined,
  problems: Problems,
  limits: LabelLimits,
): Steps<string[] | null> {
  const value = text === undefined ? undefined : yield* readJson('labels', text, problems)
  if (value === undefined) return null
  if (!Array.isArray(value)) {
    problems.add(`labels is ${quote(value)}, expected a JSON array of strings`)
    return null
  }
  if (value.length === 0 || value.length > limits.labels) {
    problems.add(`labels has ${value.length} entries, expected 1 to ${limits.labels}`)
    return null
  }
  const first = new Map<string, number>()
  for (const [index, label] of value.entries()) {
    if (index % LABELS_A_STEP === LABELS_A_STEP - 1) yield
    if (typeof label !== 'string' || label.trim() === '') {
      problems.add(`labels[${index}] is ${quote(label)}, expected a non-empty string`)
    } else if (label.length > limits.labelLength) {
      problems.add(
        `labels[${index}] ${quote(label)} has ${label.length} characters, at most ${limits.labelLength} allowed`,
      )
    } else if (first.has(label)) {
      problems.add(`labels[${index}] ${quote(label)} is a duplicate of labels[${first.get(label)}]`)
    } else {
      first.set(label, index)
    }
  }
  return value as string[]
}

function* readMetrics(
  text: string | undefined,
  problems: Problems,
): Steps<Record<string, unknown> | undefined> {
  const value = text === undefined ? undefined : yield* readJson('metrics', text, problems)
  if (value === undefined) return undefined
  if (!(value instanceof Map)) {
    problems.add(`metrics is ${quote(value)}, expected a JSON object`)
    return undefined
  }
  return toPlain(value) as Record<string, unknown>
}
