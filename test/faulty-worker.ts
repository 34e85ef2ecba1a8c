/**
 * The engine's real worker, in which `session.run` is counted and, on a test's command, fails.
 */
import { workerData } from 'node:worker_threads'
import { InferenceSession } from 'onnxruntime-node'
import { Fault, IN_RUN, NEXT_RUN, RELEASE, RUNS, SESSIONS } from './faulty-worker-control.mjs'

const control = workerData as Int32Array

const { create } = InferenceSession
InferenceSession.create = (async (...args: Parameters<typeof create>) => {
  Atomics.add(control, SESSIONS, 1)
  return create.apply(InferenceSession, args)
}) as typeof create

// The exported value is the class, but its type has the factory's methods only.
const { prototype } = InferenceSession as unknown as { prototype: InferenceSession }
type Run = (this: InferenceSession, ...args: unknown[]) => Promise<InferenceSession.ReturnType>
const run = prototype.run as Run
prototype.run = async function (this: InferenceSession, ...args: unknown[]) {
  if (!this.outputNames.includes('features')) return run.apply(this, args)
  Atomics.add(control, RUNS, 1)
  const fault = Atomics.exchange(control, NEXT_RUN, Fault.none) as Fault
  if (fault !== Fault.none) Atomics.store(control, IN_RUN, 1)
  if (fault === Fault.throws) throw new Error('non-zero status code at /srv/models/trunk.onnx')
  if (fault === Fault.exits) process.exit(9)
  if (fault === Fault.crashes) {
    setImmediate(() => {
      throw new Error('thrown outside of any request')
    })
    return new Promise<never>(() => {})
  }
  // Blocks the thread, as a long run does.
  if (fault === Fault.waits) Atomics.wait(control, RELEASE, 0)
  return run.apply(this, args)
}

await import('../src/engine/worker.js')
