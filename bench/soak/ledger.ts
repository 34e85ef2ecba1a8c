/**
 * What a soak may be answered: which version of a domain was in force at some moment of a request, and what
 * that version says of an image. Pure book-keeping; sends nothing.
 */

/** A request's view of one domain: every state, version or null for none, it may meet. */
export type Watch = Set<string | null>

interface State {
  now: string | null
  /** The state an unfinished change leads to. */
  next: string | null | undefined
  watches: Set<Watch>
}

/** The states of the domains, as one client that makes all the changes knows them. */
export class Ledger {
  readonly #domains = new Map<string, State>()

  /** @param version in force, null where the domain does not exist */
  add(domain: string, version: string | null): void {
    this.#domains.set(domain, { now: version, next: undefined, watches: new Set() })
  }

  /** The version in force; null where there is none. */
  now(domain: string): string | null {
    return this.#state(domain).now
  }

  changing(domain: string): boolean {
    return this.#state(domain).next !== undefined
  }

  /** Before a request is sent. What is in force before it is sent and was replaced must not answer it. */
  watch(domain: string): Watch {
    const { now, next, watches } = this.#state(domain)
    const watch: Watch = new Set(next === undefined ? [now] : [now, next])
    watches.add(watch)
    return watch
  }

  /** After its answer. */
  unwatch(domain: string, watch: Watch): void {
    this.#state(domain).watches.delete(watch)
  }

  /** Before a change is sent: requests in flight may meet either state. */
  begin(domain: string, version: string | null): void {
    const state = this.#state(domain)
    state.next = version
    for (const watch of state.watches) watch.add(version)
  }

  /** After its answer; a refused change leaves what was. */
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

/** What a pack says of one image, asked alone: the score of each class and the feature vector. */
export interface Reference {
  scores: readonly number[]
  features: readonly number[]
}

export interface Answer {
  version: string
  predictions?: readonly { index: number; score: number }[]
  features?: readonly number[]
}

/** Scores are probabilities; features are compared relative to the largest one. */
const TOLERANCE = 1e-4

/**
 * What is wrong with an answer, or null.
 * @param packOf the pack a version holds; undefined for a version that was never registered
 */
export function judgeAnswer(
  answer: Answer,
  watch: Watch,
  packOf: (version: string) => number | undefined,
  reference: (pack: number) => Reference,
): string | null {
  const { version, predictions, features } = answer
  if (!watch.has(version)) return `version ${version.slice(0, 12)} answered, which was not in force`
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

/** Written so that NaN and a missing value are not near. */
function near(value: number, expected: number | undefined, size: number): boolean {
  return Math.abs(value - (expected ?? Number.NaN)) <= TOLERANCE * size
}
