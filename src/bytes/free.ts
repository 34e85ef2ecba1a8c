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

/**
 * Frees the memory of a buffer that native code has handed over, as sharp's buffers are. Node forbids to transfer
 * such a buffer to a port; a byte stream takes it over all the same, as its standard says, and hands out another
 * buffer of the same memory, which is then freed ("memory that native code handed over" in test/free.test.ts).
 *
 * Left to the collector it waits for a full collection: a decoded image of 50 megapixels, 150 MB, stayed until the
 * next one, in an idle service for good. That is what happens where a version of Node does not let the buffer go.
 */
export async function freeForeign(view: Uint8Array<ArrayBuffer>): Promise<void> {
  try {
    const stream = new ReadableStream({ type: 'bytes', start: (controller) => controller.enqueue(view) })
    const { value } = await stream.getReader().read()
    if (value !== undefined) free([value])
  } catch {
    // Only memory is at stake here, not the image.
  }
}
