/** Memory of typed arrays, given back now. */
import { MessageChannel } from 'node:worker_threads'

/** A port that leads nowhere. */
const nowhere = new MessageChannel().port1
nowhere.close()

/**
 * Frees the buffers of arrays that nobody will use again, now rather than when the collector comes by: what is
 * transferred to a closed port is dropped with the message. Rows come at tens a second and a megabyte each under
 * load; left to the collector some 45 MB of them wait for it
 * (docs/experiments/2026-11-25-soak-by-mapping.md). A buffer that is shared between threads, or
 * of which an array is only a part, is left alone.
 */
export function free(
  arrays: readonly { readonly buffer: ArrayBufferLike; readonly byteLength: number }[],
): void {
  const buffers = new Set<ArrayBuffer>()
  for (const { buffer, byteLength } of arrays)
    if (buffer instanceof ArrayBuffer && byteLength > 0 && byteLength === buffer.byteLength)
      buffers.add(buffer)
  if (buffers.size > 0) nowhere.postMessage(null, [...buffers])
}
