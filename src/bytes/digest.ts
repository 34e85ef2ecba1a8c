/** SHA-256, which names every pack and guards every record. */
import { createHash, webcrypto } from 'node:crypto'

/** Below this many bytes hashing here is faster than handing it to another thread. */
const SMALL_BYTES = 64 * 1024

/** SHA-256 as 64 hex digits; of large inputs off the main thread. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  if (bytes.length <= SMALL_BYTES) return sha256Now(bytes)
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes)).toString('hex')
}

/** SHA-256 as 64 hex digits, on this thread: for small inputs. */
export function sha256Now(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Hex digits of a digest that people see. */
const SHOWN_DIGITS = 12

/** A digest (a version) as people see it. */
export function short(digest: string): string {
  return digest.slice(0, SHOWN_DIGITS)
}
