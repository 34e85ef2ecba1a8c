/** Options, rows and groups of rows of the benchmark, and how a group is run. */
import { availableCores } from '../../src/host/cpu-quota.js'
import type { FleetOptions } from './dedicated.js'

export interface BenchOptions {
  /** Measuring time of a row. */
  seconds: number
  /** Number of domains of the mixed traffic. */
  domains: number
  /** Number of threads of a run. */
  threads: number
  /** Number of domains of the memory row, and of packs of the start row. */
  many: number
  /** A folder for this run's files, removed at the end. */
  dir: string
  /** Keys of the rows to measure; empty for all. */
  only: readonly string[]
  /** The settings at which dedicated sessions are fastest, once the engine rows have found them. */
  rival?: FleetOptions
}

export const defaults: Omit<BenchOptions, 'dir'> = {
  seconds: 20,
  domains: 50,
  threads: availableCores(),
  many: 1000,
  only: [],
}

/** The result of a row. */
export interface Measured {
  /** Figures by name, the row's keys first; null for a figure that could not be measured. */
  values: Record<string, number | string | null>
  /** Spread and conditions, for people. */
  detail: string
  /** Points of the plots. */
  curves?: Record<string, [domains: number, value: number][]>
}

export interface Row<Rig> {
  /** Names of its figures in the JSON line. */
  keys: readonly string[]
  what: string
  target: string
  measure(rig: Rig, options: BenchOptions): Promise<Measured>
}

/** Rows that share an expensive set-up. */
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

/**
 * Measures the rows of a group that are wanted. The figures of a row that fails are null, with the reason.
 */
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
