/** SHA-256: the version of a pack, and the checksum of records and files. */
import { createHash, webcrypto } from 'node:crypto'

/** Up to so many bytes, hashing on this thread is faster than asking another one. */
const SAME_THREAD_MAX_BYTES = 64 * 1024

/** SHA-256 as 64 hex digits. Large inputs are hashed on another thread. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  if (bytes.length <= SAME_THREAD_MAX_BYTES) return sha256Now(bytes)
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes)).toString('hex')
}

/** SHA-256 as 64 hex digits, on this thread: for small inputs. */
export function sha256Now(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Hex digits of a digest in messages and logs. */
const SHOWN_DIGITS = 12

/** The first digits of a digest (a version), for messages and logs. */
export function short(digest: string): string {
  return digest.slice(0, SHOWN_DIGITS)
}
