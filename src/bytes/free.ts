/** Frees the memory of typed arrays at once. */
import { MessageChannel } from 'node:worker_threads'

/** A closed port: messages to it are dropped. */
const nowhere = new MessageChannel().port1
nowhere.close()

/**
 * Frees the buffers of arrays that nobody will use again. A buffer that is shared between threads, or of
 * which the array is only a part, is left alone; so is one that Node does not let go, such as memory of a native
 * add-on (on Node 24).
 *
 * Transferring a buffer to a closed `MessagePort` detaches it and frees its memory at once (undocumented;
 * "buffers are taken over" in test/engine-rows.test.ts sees the detached arrays). Under load rows come tens
 * of times a second, a megabyte each; left to the garbage collector, some 45 MB of them are in memory
 * (docs/experiments/2026-11-25-soak-by-mapping.md).
 */
export function free(
  arrays: readonly { readonly buffer: ArrayBufferLike; readonly byteLength: number }[],
): void {
  const buffers = new Set<ArrayBuffer>()
  for (const { buffer, byteLength } of arrays)
    if (buffer instanceof ArrayBuffer && byteLength > 0 && byteLength === buffer.byteLength)
      buffers.add(buffer)
  if (buffers.size === 0 || detach([...buffers]) || buffers.size === 1) return
  for (const buffer of buffers) detach([buffer])
}

/** False, and all are as they were, where one of them cannot be transferred. */
function detach(buffers: ArrayBuffer[]): boolean {
  try {
    nowhere.postMessage(null, buffers)
    return true
  } catch (error) {
    if ((error as Error).name !== 'DataCloneError') throw error
    return false
  }
}
