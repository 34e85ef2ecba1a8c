/** The result of a soak: the trend of memory, the list of violations, the table and the JSON line. */
import { machine } from '../machine.js'
import { quantile } from '../statistics.js'
import type { AttackCount } from './attackers.js'

/** Private dirty bytes of the service (see `privateDirtyBytes`) at a moment of the run. */
export interface Sample {
  seconds: number
  bytes: number
}

/** What the load process has counted. */
export interface Tally {
  /** Good requests that were answered, images in them, and the time of each request, ms. */
  requests: number
  images: number
  latencies: readonly number[]
  /** Requests that were rightly answered 404: their domain was being deleted or registered meanwhile. */
  absent: number
  /** Clients that left before their answer. */
  left: number
  /** Changes that were acknowledged. */
  changes: number
  /** Bad requests that got the refusal they should get. */
  refused: number
  /** Good requests that were not answered with success. */
  failed: number
  /** Answers that differ from the one computed alone. */
  wrong: number
  /** Bad requests that did not get the refusal they should get. */
  misjudged: number
  /** The first few of the last three kinds, as text. */
  examples: readonly string[]
}

export interface Soak extends Tally {
  seconds: number
  samples: readonly Sample[]
  exitCode: number | null
  storeProblems: readonly string[]
  evictions: number
  misses: number
  /** What attackers were answered; null where there were none. */
  attacks: AttackCount | null
}

/** Samples before this are not counted: caches, batch sizes and the heap are still settling. */
export const WARM_UP_SECONDS = 60
/** Nor are those of the first tenth of a long run: the native runtime's heap took three minutes to its level. */
const WARM_UP_SHARE = 0.1
/** Shorter runs have no trend: it could not be told from the sawtooth of garbage collection. */
export const TREND_SECONDS = 100
/** Most growth an hour, as a fraction of the level. */
export const MAX_GROWTH = 0.05

export interface Trend {
  /** Mean private bytes. */
  level: number
  /** Least-squares slope times one hour, as a fraction of the level. */
  growthPerHour: number
  /**
   * Its standard error, from the means of blocks of half a minute, since neighbouring samples are correlated.
   */
  error: number
}

const BLOCK_SECONDS = 30

/** The trend after the warm-up; null if the run was too short. */
export function trendOf(samples: readonly Sample[]): Trend | null {
  const warmUp = Math.max(WARM_UP_SECONDS, WARM_UP_SHARE * (samples.at(-1)?.seconds ?? 0))
  const kept = samples.filter(({ seconds }) => seconds >= warmUp)
  const first = kept[0]
  const last = kept.at(-1)
  if (!first || !last || last.seconds - first.seconds < TREND_SECONDS) return null
  const mean = (value: (sample: Sample) => number) =>
    kept.reduce((sum, sample) => sum + value(sample), 0) / kept.length
  const [time, level] = [mean(({ seconds }) => seconds), mean(({ bytes }) => bytes)]
  let covariance = 0
  let variance = 0
  for (const { seconds, bytes } of kept) {
    covariance += (seconds - time) * (bytes - level)
    variance += (seconds - time) ** 2
  }
  const slope = covariance / variance
  const residuals = new Map<number, number[]>()
  for (const { seconds, bytes } of kept) {
    const block = Math.floor(seconds / BLOCK_SECONDS)
    residuals.set(block, [...(residuals.get(block) ?? []), bytes - level - slope * (seconds - time)])
  }
  const means = [...residuals.values()].map((own) => own.reduce((sum, value) => sum + value, 0) / own.length)
  const scatter = means.reduce((sum, value) => sum + value ** 2, 0) / Math.max(1, means.length - 2)
  const error = Math.sqrt((scatter * kept.length) / means.length / variance)
  return { level, growthPerHour: (slope * 3600) / level, error: (error * 3600) / level }
}

/** Everything that must not have happened, one sentence each. */
export function violations(soak: Soak): string[] {
  const { failed, wrong, misjudged, requests, refused, changes, exitCode, storeProblems } = soak
  const found: string[] = []
  if (failed > 0) found.push(`${failed} good requests failed`)
  if (wrong > 0) found.push(`${wrong} answers differ from the one computed alone`)
  if (misjudged > 0) found.push(`${misjudged} bad requests did not get the refusal they should`)
  if (requests === 0) found.push('no request was answered')
  if (refused === 0) found.push('no bad request was sent')
  if (changes === 0) found.push('nothing was registered')
  if (exitCode !== 0) found.push(`the service ended with ${exitCode}`)
  found.push(...storeProblems.map((problem) => `the store is not intact: ${problem}`))
  const faults = attackFaults(soak.attacks)
  if (faults.length > 0) found.push(`attackers met faults of the service: ${faults.join(', ')}`)
  const trend = soak.attacks === null ? trendOf(soak.samples) : null
  if (trend && trend.growthPerHour > MAX_GROWTH)
    found.push(
      `private bytes grow by ${percent(trend.growthPerHour)} an hour, more than ${percent(MAX_GROWTH)}`,
    )
  return found
}

/** Answers to attackers that say the service failed; being full (503) and being late (504) are no faults. */
function attackFaults(attacks: AttackCount | null): string[] {
  return Object.entries(attacks ?? {}).flatMap(([name, counts]) =>
    Object.entries(counts)
      .filter(([status]) => status.startsWith('5') && status !== '503' && status !== '504')
      .map(([status, count]) => `${count} times ${status} to "${name}"`),
  )
}

export function table(soak: Soak): string {
  const { requests, images, latencies, seconds, absent, left, changes, refused, evictions, misses } = soak
  const trend = trendOf(soak.samples)
  const ms = (q: number) => (latencies.length > 0 ? quantile(latencies, q).toFixed(1) : '-')
  const rows: [string, string][] = [
    ['seconds', seconds.toFixed(0)],
    ['good requests', `${requests}, ${(requests / seconds).toFixed(0)} a second`],
    ['images', `${images}, ${(images / seconds).toFixed(0)} a second`],
    ['latency, ms', `${ms(0.5)} median, ${ms(0.99)} p99, ${ms(1)} longest`],
    ['failed', String(soak.failed)],
    ['wrong answers', String(soak.wrong)],
    ['bad requests', `${refused} refused as they should, ${soak.misjudged} not`],
    ['changes', `${changes} acknowledged`],
    ['domain not there', `${absent}, rightly`],
    ['clients that left', String(left)],
    ['cold requests', `${misses}, ${evictions} evictions`],
    ['private bytes', memoryOf(soak.samples)],
    ['growth an hour', trend ? growth(trend) : 'the run was too short to tell'],
    ['exit code', String(soak.exitCode)],
    ...Object.entries(soak.attacks ?? {}).map(([name, counts]): [string, string] => {
      const answers = Object.entries(counts).map(([status, count]) => `${status}: ${count}`)
      return [`  ${name}`, answers.join(', ')]
    }),
  ]
  return rows.map(([name, value]) => `${name.padEnd(21)} ${value}`).join('\n')
}

export function jsonLine(soak: Soak, seed: number): string {
  const { samples, latencies, examples, ...counts } = soak
  const trend = trendOf(samples)
  return JSON.stringify({
    soak: {
      ...counts,
      p50_ms: latencies.length > 0 ? round(quantile(latencies, 0.5)) : null,
      p99_ms: latencies.length > 0 ? round(quantile(latencies, 0.99)) : null,
      private_mib_by_minute: byMinute(samples),
      growth_per_hour: trend && round(trend.growthPerHour),
      growth_error: trend && round(trend.error),
      violations: violations(soak),
      examples,
      seed,
      machine: machine(),
    },
  })
}

/** The growth as text, with a warning if the error is too large to compare it with the limit. */
function growth({ level, growthPerHour, error }: Trend): string {
  const unsure = 2 * error > MAX_GROWTH ? '; too unsteady to tell 5%: run longer, on a quiet machine' : ''
  return `${percent(growthPerHour)} (standard error ${percent(error)}) of ${mib(level)}${unsure}`
}

function memoryOf(samples: readonly Sample[]): string {
  const bytes = samples.map((sample) => sample.bytes)
  if (bytes.length === 0) return '-'
  return `${mib(bytes[0]!)} at first, ${mib(Math.max(...bytes))} at most, ${mib(bytes.at(-1)!)} at last`
}

/** Mean private MiB of each minute. */
function byMinute(samples: readonly Sample[]): number[] {
  const minutes = new Map<number, number[]>()
  for (const { seconds, bytes } of samples) {
    const minute = Math.floor(seconds / 60)
    minutes.set(minute, [...(minutes.get(minute) ?? []), bytes / 2 ** 20])
  }
  return [...minutes.values()].map((values) =>
    round(values.reduce((sum, value) => sum + value, 0) / values.length),
  )
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`
}

function round(value: number): number {
  return Number(value.toPrecision(4))
}
