/**
 * A thread with dedicated sessions: one plain onnxruntime-node session per domain, as without a family. Loads
 * the sessions from files and runs one at a time, in the order of the requests.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { InferenceSession, Tensor } from 'onnxruntime-node'

/** Given as `workerData`. */
export interface DedicatedOptions {
  threads: number
  spinning: boolean
  /** onnxruntime keeps the memory of a run for the next one, a session each; true unless given. */
  arena?: boolean
  device: { kind: 'cpu' } | { kind: 'cuda'; id: number }
}

export type ToDedicated =
  | { type: 'open'; id: number; session: number; path: string }
  | { type: 'run'; id: number; session: number; pixels: Uint8Array; dims: number[] }
  | { type: 'stop' }

/** The answer to `open` or `run`. After a run, `logits` are `[N, classes]`. */
export type FromDedicated = { id: number; logits: Float32Array | null; error?: string }

const { threads, spinning, device, arena = true } = workerData as DedicatedOptions
const sessions = new Map<number, InferenceSession>()
const port = parentPort!

/** The settings of the service's own sessions, which suit a plain network too. */
const options: InferenceSession.SessionOptions = {
  executionProviders: [device.kind === 'cpu' ? { name: 'cpu' } : { name: 'cuda', deviceId: device.id }],
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  graphOptimizationLevel: 'all',
  enableMemPattern: false,
  enableCpuMemArena: arena,
  extra: { session: { intra_op: { allow_spinning: spinning ? '1' : '0' } } },
}

async function handle(message: ToDedicated): Promise<void> {
  switch (message.type) {
    case 'open': {
      sessions.set(message.session, await InferenceSession.create(message.path, options))
      return port.postMessage({ id: message.id, logits: null } satisfies FromDedicated)
    }
    case 'run': {
      const session = sessions.get(message.session)
      if (!session) throw new Error(`there is no session ${message.session}`)
      const feeds = { pixels: new Tensor('uint8', message.pixels, message.dims) }
      const logits = (await session.run(feeds)).logits!.data as Float32Array
      return port.postMessage({ id: message.id, logits } satisfies FromDedicated, [
        logits.buffer as ArrayBuffer,
      ])
    }
    case 'stop':
      for (const session of sessions.values()) await session.release()
      port.close()
  }
}

let tail = Promise.resolve()
port.on('message', (message: ToDedicated) => {
  tail = tail
    .then(() => handle(message))
    .catch((error: Error) => {
      if ('id' in message) port.postMessage({ id: message.id, logits: null, error: error.message })
    })
})
