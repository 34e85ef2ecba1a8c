/** Medians, quantiles, and the interleaved comparison from which every ratio of the benchmark comes. */

/** The value below which the fraction `q` of the values lies (nearest rank). */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new Error('nothing was measured; give the row more seconds')
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** A median with its interquartile range, as text. */
export function spread(values: readonly number[], digits = 3): string {
  const show = (q: number) => quantile(values, q).toFixed(digits)
  return `${show(0.5)} (${show(0.25)}-${show(0.75)}, n=${values.length})`
}

/** What one image cost in a slice of work, ms: wall time, and CPU time of this process. */
export interface Slice {
  ms: number
  cpuMs: number
}

/** One side of a comparison: does a fixed amount of work and returns its cost. */
export type Side = () => Promise<Slice>

/**
 * Keeps `atOnce` calls in flight until `images` images are answered. Wall time ends there. The calls still in
 * flight are awaited and count in the CPU time only, which is that of the whole process with all its threads.
 * @param work answers `perCall` images a call
 */
export async function flow(
  images: number,
  atOnce: number,
  work: () => Promise<unknown>,
  perCall = 1,
): Promise<Slice> {
  let done = 0
  let ended = 0
  const cpu = process.cpuUsage()
  const start = performance.now()
  const client = async () => {
    while (ended === 0) {
      await work()
      done += perCall
      if (done >= images && ended === 0) ended = (performance.now() - start) / done
    }
  }
  await Promise.all(Array.from({ length: atOnce }, client))
  const used = process.cpuUsage(cpu)
  return { ms: ended, cpuMs: (used.user + used.system) / 1000 / done }
}

/**
 * Runs the sides in turn until the time is up, at least three rounds, in reversed order every second round:
 * so disturbances of the machine affect all sides alike. A first round warms up and is not kept.
 * @returns the slices of each side, round by round
 */
export async function interleave<Name extends string>(
  sides: Record<Name, Side>,
  seconds: number,
): Promise<Record<Name, Slice[]>> {
  const names = Object.keys(sides) as Name[]
  const slices = Object.fromEntries(names.map((name) => [name, [] as Slice[]])) as Record<Name, Slice[]>
  for (const name of names) await sides[name]()
  const end = performance.now() + seconds * 1000
  for (let round = 0; round < 3 || performance.now() < end; round++) {
    const order = round % 2 === 0 ? names : [...names].reverse()
    for (const name of order) slices[name].push(await sides[name]())
  }
  return slices
}

/** Speed of `a` over that of `b`, round by round; above 1 if `a` is faster. */
export function speedups(a: readonly Slice[], b: readonly Slice[]): number[] {
  return a.map(({ ms }, round) => b[round]!.ms / ms)
}

/** The same for CPU time, over all rounds together. Other processes on the machine disturb it less. */
export function cpuSpeedup(a: readonly Slice[], b: readonly Slice[]): number {
  const sum = (slices: readonly Slice[]) => slices.reduce((total, { cpuMs }) => total + cpuMs, 0)
  return sum(b) / sum(a)
}
