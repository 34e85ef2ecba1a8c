/** The benchmark's report: a table for people, and one JSON line for programs. */
import { machine } from '../machine.js'
import type { RowResult } from './rows.js'

/** The first keys of the JSON line, in this order, whether measured or not. */
export const keys = [
  'mixed_vs_dedicated',
  'one_domain_vs_dedicated',
  'switching',
  'service_vs_engine',
  'added_latency_ms',
  'latency_p50_ratio',
  'latency_p99_over_p50',
  'event_loop_p99_ms',
  'register_p99_ratio',
  'register_failed',
  'cold_ms',
  'row_bytes_f32',
  'row_bytes_f16',
  'rss_ratio_1000',
  'start_ms_10',
  'start_ms_1000',
] as const

/** The rows in the order of `keys`, each with its figures, target and spread. */
export function table(results: readonly RowResult[]): string {
  const place = (row: RowResult) => keys.indexOf(row.keys[0] as (typeof keys)[number])
  const lines = [...results]
    .sort((a, b) => place(a) - place(b))
    .map(({ keys: own, what, target, values, detail, seconds }) => {
      const figures = own.map((key) => `${key} ${show(values[key])}`).join(', ')
      return `${what}\n    ${figures}   target ${target}   (${seconds.toFixed(0)} s)\n    ${detail}`
    })
  return lines.join('\n')
}

/** One line: first `keys`, null if not measured, then every further figure. */
export function jsonLine(results: readonly RowResult[], seconds: number): string {
  const values = Object.assign({}, ...results.map((result) => result.values)) as RowResult['values']
  const line: Record<string, unknown> = {}
  for (const key of keys) line[key] = rounded(values[key] ?? null)
  for (const [key, value] of Object.entries(values)) if (!(key in line)) line[key] = rounded(value)
  line.not_measured = results
    .filter((result) => result.detail.startsWith('not measured'))
    .map((result) => `${result.keys.join(', ')}: ${result.detail}`)
  line.seconds = Math.round(seconds)
  line.machine = machine()
  return JSON.stringify(line)
}

function show(value: number | string | null | undefined): string {
  if (value === null || value === undefined) return '-'
  return typeof value === 'string' ? value : String(rounded(value))
}

function rounded(value: number | string | null | undefined): unknown {
  return typeof value === 'number' ? Number(value.toPrecision(4)) : value
}
