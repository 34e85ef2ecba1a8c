/** What the parts of the benchmark share: options, rows, groups of rows, and how a group is run. */
import { availableCores } from '../../src/host/cpu-quota.js'
import type { FleetOptions } from './dedicated.js'

export interface BenchOptions {
  /** Of measuring, a row. */
  seconds: number
  /** Domains of the mixed traffic. */
  domains: number
  /** Threads of a run. */
  threads: number
  /** Domains of the memory row, packs of the start row. */
  many: number
  /** A folder for this run's files, removed at the end. */
  dir: string
  /** Only rows of these keys; all where empty. */
  only: readonly string[]
  /** The rival's best settings, once the engine rows have found them. */
  rival?: FleetOptions
}

export const defaults: Omit<BenchOptions, 'dir'> = {
  seconds: 20,
  domains: 50,
  threads: availableCores(),
  many: 1000,
  only: [],
}

/** Named figures of a row, its keys first; null where one could not be had. */
export interface Measured {
  values: Record<string, number | string | null>
  /** Spread and conditions, for people. */
  detail: string
  /** For the plots: points by domains. */
  curves?: Record<string, [domains: number, value: number][]>
}

export interface Row<Rig> {
  /** As in the JSON line. */
  keys: readonly string[]
  what: string
  target: string
  measure(rig: Rig, options: BenchOptions): Promise<Measured>
}

/** Rows that share something expensive. */
export interface Group<Rig> {
  name: string
  rows: readonly Row<Rig>[]
  open(options: BenchOptions): Promise<Rig>
  close(rig: Rig): Promise<void>
}

export interface RowResult extends Measured {
  keys: readonly string[]
  what: string
  target: string
  seconds: number
}

/** Runs the wanted rows of a group, each for itself: one that fails is null, with the reason. */
export async function runGroup<Rig>(group: Group<Rig>, options: BenchOptions): Promise<RowResult[]> {
  const wanted = group.rows.filter(({ keys }) => {
    return options.only.length === 0 || keys.some((key) => options.only.includes(key))
  })
  if (wanted.length === 0) return []
  console.error(`${group.name}: preparing`)
  let rig: Rig
  try {
    rig = await group.open(options)
  } catch (error) {
    return wanted.map((row) => failed(row, error, 0))
  }
  const results: RowResult[] = []
  try {
    for (const row of wanted) {
      console.error(`${group.name}: ${row.what}`)
      const start = performance.now()
      const seconds = () => (performance.now() - start) / 1000
      try {
        const { keys, what, target } = row
        results.push({ keys, what, target, ...(await row.measure(rig, options)), seconds: seconds() })
      } catch (error) {
        results.push(failed(row, error, seconds()))
      }
    }
  } finally {
    await group.close(rig)
  }
  return results
}

function failed({ keys, what, target }: Row<never>, error: unknown, seconds: number): RowResult {
  const reason = error instanceof Error ? error.message : String(error)
  const values = Object.fromEntries(keys.map((key) => [key, null]))
  return { keys, what, target, values, detail: `not measured: ${reason}`, seconds }
}
