/**
 * How many images a batch should hold at most, learnt from the runs themselves.
 *
 * On a CPU an image costs about the same in any batch, and a large batch only makes everyone wait. On a GPU a small
 * batch wastes the chip. So the learner chooses the smallest size whose throughput is within a tolerance of the best.
 *
 * Candidate sizes are the powers of two and the maximum. The learner has two phases:
 * - The climb: it allows the smallest size until it has seen a few full batches of it, then the next larger one, until
 *   two steps in a row have gained less than the tolerance.
 * - Probes: now and then it allows a neighbour of the chosen size for a few batches, larger and smaller in turn, so
 *   that the choice follows the machine. Probes are frequent after the climb and after each change, because a
 *   disturbance may have made the choice, and become rarer while the choice stands.
 *
 * No image waits for the learner's sake: a batch leaves with its share of what is there, and teaches about its own
 * size. Times are medians of the last runs, so that one slow run does not matter. The same records give the same sizes.
 */

/**
 * The largest batch worth trying on a device. On a CPU eight images share what a run costs beside its images. A larger
 * batch gains nothing there, and could be chosen by chance where other work disturbs the measuring.
 */
export const largestBatch = { cpu: 8, cuda: 256 } as const

export interface BatchSizerOptions {
  /** The largest batch allowed. */
  max: number
  /** Share of the best throughput that may be given up for a smaller batch; 0.05 unless told. */
  tolerance?: number
  /** This size, whatever is measured. */
  fixed?: number
}

export interface BatchTiming {
  size: number
  /** Null before enough runs of this size were seen. */
  msPerImage: number | null
  samples: number
}

/** Runs of a size that are needed to judge it. */
const MIN_RUNS = 5
/** The latest runs of a size whose median counts. */
const REMEMBERED_RUNS = 9
/** Full batches between two probes, at first and at most; each probe doubles it. */
const FIRST_PROBE_AFTER = 32
const LAST_PROBE_AFTER = 512
/** Steps without gain after which the climb ends. */
const CLIMB_PATIENCE = 2

interface Candidate {
  size: number
  /** Milliseconds an image, the latest runs. */
  times: number[]
  samples: number
  /** Median of `times`; Infinity before there are `MIN_RUNS` of them. */
  msPerImage: number
}

export class BatchSizer {
  readonly #candidates: Candidate[] = []
  readonly #tolerance: number
  readonly #fixed: number | undefined
  /** Position of the largest size climbed to; the climb has ended when `#climbing` is false. */
  #reached = 0
  #climbing = true
  #chosen = 0
  /** A neighbour under test, and the samples it shall have at its end. */
  #probe: { position: number; until: number } | null = null
  #sinceProbe = 0
  #probeAfter = FIRST_PROBE_AFTER
  #upwards = true

  constructor({ max, tolerance = 0.05, fixed }: BatchSizerOptions) {
    this.#tolerance = tolerance
    this.#fixed = fixed
    for (let size = 1; size < max; size *= 2) this.#candidates.push(candidate(size))
    this.#candidates.push(candidate(max))
  }

  /** The most entries the next batch should have. */
  get size(): number {
    if (this.#fixed !== undefined) return this.#fixed
    const position = this.#climbing ? this.#reached : (this.#probe?.position ?? this.#chosen)
    return this.#candidates[position]!.size
  }

  /** A batch of `size` images took `ms` from hand-over to answer. Sizes between the candidates are ignored. */
  record(size: number, ms: number): void {
    const position = this.#candidates.findIndex((candidate) => candidate.size === size)
    if (position < 0 || !Number.isFinite(ms) || ms < 0) return
    learn(this.#candidates[position]!, ms / size)
    const best = this.#best()
    if (best !== this.#chosen) this.#probeAfter = FIRST_PROBE_AFTER
    this.#chosen = best
    if (this.#climbing) this.#climb()
    else this.#look(position)
  }

  /**
   * Milliseconds that a run of so many images takes at most, as a rule: the median of the next larger size that is
   * known. Null where none is.
   */
  runMs(size: number): number | null {
    const next = this.#candidates.find((each) => each.size >= size && Number.isFinite(each.msPerImage))
    return next ? next.msPerImage * next.size : null
  }

  /** What was measured, sizes ascending. */
  table(): BatchTiming[] {
    return this.#candidates.map(({ size, msPerImage, samples }) => ({
      size,
      msPerImage: Number.isFinite(msPerImage) ? msPerImage : null,
      samples,
    }))
  }

  #climb(): void {
    const known = this.#candidates.slice(0, this.#reached + 1).map((candidate) => candidate.msPerImage)
    while (this.#climbing && this.#candidates[this.#reached]!.samples >= MIN_RUNS) {
      const before = Math.min(...known.slice(0, -CLIMB_PATIENCE))
      const lately = Math.min(...known.slice(-CLIMB_PATIENCE))
      const gained = known.length <= CLIMB_PATIENCE || lately < before * (1 - this.#tolerance)
      if (!gained || this.#reached === this.#candidates.length - 1) this.#climbing = false
      else known.push(this.#candidates[++this.#reached]!.msPerImage)
    }
  }

  /** Starts a probe when it is time, ends it when it has its samples. */
  #look(position: number): void {
    if (this.#probe !== null) {
      if (this.#candidates[this.#probe.position]!.samples >= this.#probe.until) this.#probe = null
      return
    }
    if (position !== this.#chosen || ++this.#sinceProbe < this.#probeAfter) return
    this.#sinceProbe = 0
    this.#probeAfter = Math.min(2 * this.#probeAfter, LAST_PROBE_AFTER)
    const [up, down] = [this.#chosen + 1, this.#chosen - 1]
    const next = this.#upwards ? [up, down] : [down, up]
    this.#upwards = !this.#upwards
    const neighbour = next.find((position) => this.#candidates[position] !== undefined)
    if (neighbour !== undefined)
      this.#probe = { position: neighbour, until: this.#candidates[neighbour]!.samples + MIN_RUNS }
  }

  /** Position of the smallest size within the tolerance of the best throughput. */
  #best(): number {
    const best = Math.min(...this.#candidates.map((candidate) => candidate.msPerImage))
    // Throughput is the inverse: at least (1 - tolerance) of the best one's.
    const most = best / (1 - this.#tolerance)
    return this.#candidates.findIndex((candidate) => candidate.msPerImage <= most)
  }
}

function candidate(size: number): Candidate {
  return { size, times: [], samples: 0, msPerImage: Number.POSITIVE_INFINITY }
}

function learn(candidate: Candidate, msPerImage: number): void {
  candidate.times.push(msPerImage)
  if (candidate.times.length > REMEMBERED_RUNS) candidate.times.shift()
  if (++candidate.samples < MIN_RUNS) return
  const sorted = [...candidate.times].sort((a, b) => a - b)
  candidate.msPerImage = sorted[sorted.length >> 1]!
}
