/**
 * The search: begins at a kind's corners, then changes one or two parameters of the worst images that were accepted.
 *
 * An image that is refused for its cost is tried again with fewer pixels, so that the search goes along the limit.
 */
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { settings } from '../../src/config/settings.js'
import type { ImageType } from '../../src/image/headers/sniff.js'
import type { Random } from '../../test/random.js'
import type { Outcome } from './decode-one.js'
import type { Kind, Parameters } from './kind.js'

/** One image that was tried. */
export interface Trial extends Outcome {
  format: ImageType
  parameters: Parameters
  /** Bytes of the file. */
  sent: number
}

const script = fileURLToPath(new URL('./decode-one.js', import.meta.url))
/** Of an image that was refused, so much of the pixels is tried next. */
const SMALLER = 0.75

export class Search {
  readonly trials: Trial[] = []
  readonly #kinds: readonly Kind[]
  readonly #random: Random
  readonly #file: string
  readonly #beyond: boolean
  readonly #queue: [kind: Kind, parameters: Parameters][]
  readonly #seen = new Set<string>()

  /**
   * @param folder for the images
   * @param beyond decode what is refused for its cost too
   */
  constructor(kinds: readonly Kind[], random: Random, folder: string, beyond: boolean) {
    this.#beyond = beyond
    this.#kinds = kinds
    this.#random = random
    this.#file = join(folder, `${kinds[0]!.format}.image`)
    this.#queue = kinds.flatMap((kind) =>
      kind.corners.map((corner): [Kind, Parameters] => [kind, { ...firstOf(kind), ...corner }]),
    )
  }

  /** Tries one image. Null where its parameters make none. */
  async step(): Promise<Trial | null> {
    const [kind, parameters] = this.#queue.shift() ?? this.#mutation()
    const key = JSON.stringify([this.#kinds.indexOf(kind), parameters])
    if (this.#seen.has(key)) return null
    this.#seen.add(key)
    const bytes = await kind.make(parameters)
    if (bytes === null || bytes.length > settings.maxBody.default) {
      if (bytes !== null) this.#smaller(kind, parameters)
      return null
    }
    writeFileSync(this.#file, bytes)
    const trial = {
      format: kind.format,
      parameters,
      sent: bytes.length,
      ...(await decodeAlone(this.#file, this.#beyond)),
    }
    this.trials.push(trial)
    if (trial.error?.code === 'image_too_large') this.#smaller(kind, parameters)
    return trial
  }

  #smaller(kind: Kind, parameters: Parameters): void {
    const megapixels = Number((Number(parameters.megapixels) * SMALLER).toPrecision(3))
    if (megapixels >= 0.05) this.#queue.unshift([kind, { ...parameters, megapixels }])
  }

  /** One of the worst so far, with one or two parameters changed. */
  #mutation(): [Kind, Parameters] {
    const kind = this.#random.pick([...this.#kinds])
    const own = this.trials.filter(({ parameters }) =>
      Object.keys(kind.choices).every((name) => name in parameters),
    )
    const worst = [byMemory, byTime, byMemoryRatio, byTimeRatio]
      .map((of) => worstOf(own, of))
      .filter((found) => found)
    const start = worst.length > 0 ? this.#random.pick(worst)!.parameters : firstOf(kind)
    const changed: Record<string, string | number | boolean> = { ...start }
    for (let change = 0; change < 1 + this.#random.below(2); change++) {
      const name = this.#random.pick(Object.keys(kind.choices))
      changed[name] = this.#random.pick([...kind.choices[name]!])
    }
    return [kind, changed]
  }
}

/** Orders trials by a figure; accepted ones only. */
type Measure = (trial: Trial) => number
export const byMemory: Measure = ({ measured }) => measured!.bytes
export const byTime: Measure = ({ measured }) => measured!.cpuMs
/** What was measured over what was reckoned: beyond 1 the reckoning is wrong. */
export const byMemoryRatio: Measure = ({ measured, estimate }) => measured!.bytes / estimate!.bytes
export const byTimeRatio: Measure = ({ measured, estimate }) => measured!.cpuMs / estimate!.cpuMs

export function worstOf(trials: readonly Trial[], measure: Measure): Trial | undefined {
  const accepted = trials.filter(({ measured }) => measured !== null)
  return accepted.reduce<Trial | undefined>(
    (worst, trial) => (worst === undefined || measure(trial) > measure(worst) ? trial : worst),
    undefined,
  )
}

function firstOf(kind: Kind): Parameters {
  return Object.fromEntries(Object.entries(kind.choices).map(([name, values]) => [name, values[0]!]))
}

/** In a process of its own, so that memory is that of this image. */
function decodeAlone(file: string, beyond: boolean): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, file, ...(beyond ? ['beyond'] : [])], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let out = ''
    child.stdout.on('data', (text) => {
      out += text
    })
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) resolve(JSON.parse(out) as Outcome)
      else reject(new Error(`decoding ended with ${code ?? signal}; the image is ${file}`))
    })
  })
}
