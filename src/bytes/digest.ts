/** SHA-256: the version of a pack, and the checksum of records and files. */
import { createHash, webcrypto } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** Up to so many bytes, hashing on this thread is faster than asking another one. */
const SAME_THREAD_MAX_BYTES = 64 * 1024

/** More bytes would take longer to copy to another thread than this one may be held. */
const OTHER_THREAD_MAX_BYTES = 8 * 2 ** 20
/** Bytes that are hashed in one turn of the event loop. */
const BYTES_A_TURN = 2 ** 18

/** SHA-256 as 64 hex digits. Large inputs are hashed on another thread, or in turn with other work. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  if (bytes.length <= SAME_THREAD_MAX_BYTES) return sha256Now(bytes)
  if (bytes.length > OTHER_THREAD_MAX_BYTES) {
    const hash = createHash('sha256')
    for (let at = 0; at < bytes.length; at += BYTES_A_TURN) {
      hash.update(bytes.subarray(at, at + BYTES_A_TURN))
      await nextTurn()
    }
    return hash.digest('hex')
  }
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
