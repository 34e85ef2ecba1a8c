/**
 * The thread of a lane: takes the messages of `messages.ts`, has the lane do what each says, one after the
 * other, and answers. Decides nothing by itself.
 */
import { type MessagePort, parentPort } from 'node:worker_threads'
import { Lane } from './lane.js'
import type { EngineResult } from './batch.js'
import type { FromWorker, ToWorker } from './messages.js'
import { OrtRuntime } from './runtime/ort.js'

function serve(port: MessagePort): void {
  let lane: Lane<unknown> | undefined
  let tail = Promise.resolve()

  const reply = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer)

  const handle = async (message: ToWorker): Promise<void> => {
    switch (message.type) {
      case 'init':
        lane = await Lane.open(message.init, (device, threads) => new OrtRuntime(device, threads))
        return reply({ type: 'ready', ...lane.ready })
      case 'share':
        return lane!.share(message.segment)
      case 'setRow':
        lane!.setRow(message.row, message.content)
        return reply({ type: 'rowSet', id: message.id })
      case 'clear':
        return lane!.clear(message.row)
      case 'run': {
        const result = await lane!.run(message.batch)
        return reply({ type: 'result', id: message.id, result }, transferOf(result))
      }
      case 'stop':
        // The thread ends when its port is closed, even if the sessions cannot be released.
        try {
          await lane?.close()
        } finally {
          port.close()
        }
    }
  }

  port.on('message', (message: ToWorker) => {
    tail = tail
      .then(() => handle(message))
      .catch((error: Error) => {
        reply({ type: 'failed', id: 'id' in message ? message.id : null, message: error.message })
        if (message.type === 'init') port.close()
      })
  })
}

/** Buffers that leave with a result. */
function transferOf({ features, logits }: EngineResult): ArrayBuffer[] {
  const buffers = new Set([features.buffer as ArrayBuffer])
  for (const values of logits) if (values) buffers.add(values.buffer as ArrayBuffer)
  return [...buffers]
}

serve(parentPort!)
