/**
 * How small the chunks of a body may be. Each costs the thread about as much as hundreds of bytes do, whatever becomes
 * of the body.
 */

/** So many may be of any size. */
const FREE_CHUNKS = 512
/** Beyond, the chunks of a body so far must have as many bytes on average. */
export const MIN_AVERAGE_BYTES = 64

/** Whether a body comes in chunks that are not worth reading. @param bytes of so many chunks */
export function areTiny(chunks: number, bytes: number): boolean {
  return chunks > FREE_CHUNKS && bytes < chunks * MIN_AVERAGE_BYTES
}
