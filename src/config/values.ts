/**
 * Values of options that are neither quantities nor plain words: devices, addresses, lists. Each parser throws a
 * QuantityError that says what is accepted.
 */
import { isIP } from 'node:net'
import { isDomainId } from '../domain-id.js'
import type { Device } from '../engine/runtime/runtime.js'
import { choice, count, QuantityError, text } from './quantities.js'

/** Upper bound of counts that nothing else bounds. */
export const MAX_COUNT = 1_000_000

export function device(value: string): Device {
  if (value === 'cpu') return { kind: 'cpu' }
  const match = /^cuda(?::(\d{1,3}))?$/.exec(value)
  if (match) return { kind: 'cuda', id: Number(match[1] ?? 0) }
  throw new QuantityError('Accepted: cpu, cuda, or cuda:NUMBER such as cuda:1.')
}

export function yesOrNo(value: string): boolean {
  return choice(['yes', 'no'])(value) === 'yes'
}

/** Domain ids, or `last`. */
export function domains(value: string): readonly string[] | 'last' {
  if (value === 'last') return value
  const ids = value.split(',').map((id) => id.trim())
  if (ids.every(isDomainId)) return ids
  throw new QuantityError('Domain ids separated by commas, or last, are accepted.')
}

/** Images a second; 0 for none. */
export function rate(value: string): number {
  const images = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN
  if (images <= MAX_COUNT) return images
  throw new QuantityError(`A number such as 50 or 0.5, at most ${MAX_COUNT}, is accepted; 0 for none.`)
}

export function share(value: string): number {
  const found = Number(value)
  if (value.trim() !== '' && found >= 0 && found <= 1) return found
  throw new QuantityError('Not a share: a number from 0 to 1.')
}

export function batch(value: string): number | 'auto' {
  if (value === 'auto') return value
  try {
    return count(1, 4096)(value)
  } catch {
    throw new QuantityError('A whole number from 1 to 4096, or auto, is accepted.')
  }
}

/** An address or a name. The brackets of an IPv6 address in a URL are taken off. */
export function host(value: string): string {
  text(value)
  const [, inBrackets] = /^\[([^\]]*)\]$/.exec(value) ?? []
  if (inBrackets !== undefined && isIP(inBrackets) === 6) return inBrackets
  if (isIP(value) !== 0 || /^[\w.-]+$/.test(value)) return value
  throw new QuantityError(
    'An address or a name alone, such as 127.0.0.1, ::1 or localhost, is accepted; --port sets the port.',
  )
}

/** IP addresses and networks such as `10.0.0.0/8`. */
export function origins(value: string): readonly string[] {
  return value.split(',').map((part) => {
    const origin = part.trim()
    if (
      origin === '*' ||
      (/^https?:/.test(origin) && URL.canParse(origin) && new URL(origin).origin === origin)
    )
      return origin
    throw new QuantityError(
      'Origins such as https://app.example.com (no path, no slash at the end), separated by commas, or * are accepted.',
    )
  })
}

export function proxies(value: string): readonly string[] {
  return value.split(',').map((part) => {
    const [, address, bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(part.trim()) ?? []
    const version = isIP(address ?? '')
    const maxBits = version === 4 ? 32 : 128
    if (version !== 0 && (bits === undefined || (Number(bits) >= 1 && Number(bits) <= maxBits)))
      return part.trim()
    throw new QuantityError('IP addresses or networks such as 10.0.0.0/8, separated by commas, are accepted.')
  })
}
