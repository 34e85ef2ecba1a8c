/** Numbers as people write them in a configuration: counts, bytes, durations, choices. */

/** A value that was refused; `message` says what is accepted. */
export class QuantityError extends Error {
  override readonly name = 'QuantityError'
}

const byteUnits = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}
const timeUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** A whole number from `least` to `most`. */
export function count(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most) return value
    throw new QuantityError(`A whole number from ${least} to ${most} is accepted.`)
  }
}

/** Bytes: `16MiB`, `1.5GB`, `4096`. */
export function bytes(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Math.floor(scaled(text, byteUnits))
    if (value >= least && value <= most) return value
    const units = Object.keys(byteUnits).filter((unit) => unit !== '')
    throw new QuantityError(
      `A size such as 16MiB, 1.5GB or 4096, from ${showBytes(least)} to ${showBytes(most)}, is accepted; units: ${units.join(', ')}.`,
    )
  }
}

/** Milliseconds: `500ms`, `30s`, `2m`, `1h`. A number without its unit is refused: it could be either. */
export function duration(least: number): (text: string) => number {
  return (text) => {
    const value = scaled(text, timeUnits)
    if (value >= least && value <= 24 * 3_600_000) return value
    throw new QuantityError(
      `A duration such as 500ms, 30s or 2m, from ${showDuration(least)} to 24h, is accepted.`,
    )
  }
}

/** One of a few words. */
export function choice<const Word extends string>(words: readonly Word[]): (text: string) => Word {
  return (text) => {
    const word = words.find((candidate) => candidate === text)
    if (word !== undefined) return word
    throw new QuantityError(`Accepted: ${words.join(', ')}.`)
  }
}

/** Any text but none at all. */
export function text(value: string): string {
  if (value.trim() !== '') return value
  throw new QuantityError('A value is needed; leave the option out for its default.')
}

export function showBytes(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return 'none'
  const units = Object.entries(byteUnits).filter(([unit]) => unit.endsWith('iB'))
  const [unit, factor] = units.findLast(([, size]) => value >= size && value % size === 0) ?? ['', 1]
  return `${value / factor}${unit}`
}

export function showDuration(value: number): string {
  const [unit, factor] = Object.entries(timeUnits).findLast(([, ms]) => value >= ms && value % ms === 0) ?? [
    'ms',
    1,
  ]
  return `${value / factor}${unit}`
}

/** NaN for what is no number with one of the units. */
function scaled(text: string, units: Record<string, number>): number {
  const match = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(text)
  const factor = match && Object.entries(units).find(([unit]) => unit === match[2])?.[1]
  return match && factor !== null && factor !== undefined ? Number(match[1]) * factor : Number.NaN
}
