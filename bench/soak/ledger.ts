/**
 * Decides whether an answer of a soak is right: which versions of a domain were active at some moment of the
 * request, and what those versions predict for the image. Sends nothing.
 */

/** The states of one domain that a request may meet: versions, or null if the domain does not exist. */
export type Watch = Set<string | null>

interface State {
  now: string | null
  /** The state after the change under way; undefined if there is none. */
  next: string | null | undefined
  watches: Set<Watch>
}

/** The states of the domains, known because one client makes all the changes. */
export class Ledger {
  readonly #domains = new Map<string, State>()

  /** @param version the active one; null if the domain does not exist */
  add(domain: string, version: string | null): void {
    this.#domains.set(domain, { now: version, next: undefined, watches: new Set() })
  }

  /** The active version; null if the domain does not exist. */
  now(domain: string): string | null {
    return this.#state(domain).now
  }

  changing(domain: string): boolean {
    return this.#state(domain).next !== undefined
  }

  /** To be called before a request is sent. Versions that were replaced before then must not answer it. */
  watch(domain: string): Watch {
    const { now, next, watches } = this.#state(domain)
    const watch: Watch = new Set(next === undefined ? [now] : [now, next])
    watches.add(watch)
    return watch
  }

  /** To be called after the request's answer. */
  unwatch(domain: string, watch: Watch): void {
    this.#state(domain).watches.delete(watch)
  }

  /** To be called before a change is sent: requests in flight may then meet either state. */
  begin(domain: string, version: string | null): void {
    const state = this.#state(domain)
    state.next = version
    for (const watch of state.watches) watch.add(version)
  }

  /** To be called after the change's answer. A refused change leaves the state as it was. */
  end(domain: string, done: boolean): void {
    const state = this.#state(domain)
    if (done && state.next !== undefined) state.now = state.next
    state.next = undefined
  }

  #state(domain: string): State {
    const state = this.#domains.get(domain)
    if (!state) throw new Error(`'${domain}' is no domain of this soak`)
    return state
  }
}

/** What a pack answers to one image that is asked alone: the score of each class, and the features. */
export interface Reference {
  scores: readonly number[]
  features: readonly number[]
}

export interface Answer {
  version: string
  predictions?: readonly { index: number; score: number }[]
  features?: readonly number[]
}

/**
 * Largest difference of scores, which are probabilities, and of features, relative to the largest feature.
 */
const TOLERANCE = 1e-4

/**
 * What is wrong with an answer; null if it is right.
 * @param packOf the pack of a version; undefined for a version that was never registered
 */
export function judgeAnswer(
  answer: Answer,
  watch: Watch,
  packOf: (version: string) => number | undefined,
  reference: (pack: number) => Reference,
): string | null {
  const { version, predictions, features } = answer
  if (!watch.has(version)) return `version ${version.slice(0, 12)} answered, which was not active`
  const pack = packOf(version)
  if (pack === undefined) return `version ${version.slice(0, 12)} was never registered`
  const { scores, features: expected } = reference(pack)
  if (predictions) {
    const best = Math.max(...scores)
    if (predictions.length === 0) return 'no predictions'
    if (!near(predictions[0]!.score, best, 1))
      return `the best score is ${predictions[0]!.score}, alone ${best}`
    for (const { index, score } of predictions) {
      if (!near(score, scores[index], 1)) return `class ${index} scores ${score}, alone ${scores[index]}`
    }
  }
  if (features) {
    const size = Math.max(...expected.map(Math.abs))
    if (features.length !== expected.length) return `${features.length} features, not ${expected.length}`
    const odd = features.findIndex((value, index) => !near(value, expected[index], size))
    if (odd >= 0) return `feature ${odd} is ${features[odd]}, alone ${expected[odd]}`
  }
  return null
}

/** False for NaN and for a missing value. */
function near(value: number, expected: number | undefined, size: number): boolean {
  return Math.abs(value - (expected ?? Number.NaN)) <= TOLERANCE * size
}
