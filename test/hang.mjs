/**
 * Loaded into the real program and its threads before anything else: makes a part of it hang for good, which it tells
 * on standard output. The query says which part:
 *
 * - `first-run`: the first run of each lane, so that the service never gets beyond its start
 * - `run`, `decode`: every run or decode after SIGUSR2, which it tells too
 * - `start`: the main thread, as soon as it listens to signals
 * - `signal`: nothing hangs; SIGTERM comes as soon as somebody listens
 */
import { writeSync } from 'node:fs'
import { getEnvironmentData, isMainThread, setEnvironmentData, threadId } from 'node:worker_threads'
import { onNativeRuns } from './native-control.mjs'

const part = new URL(import.meta.url).search.slice(1)
/** 0 until SIGUSR2. Shared by all threads. @type {Int32Array} */
const hanging = isMainThread
  ? new Int32Array(new SharedArrayBuffer(4))
  : /** @type {any} */ (getEnvironmentData('hanging'))

/** @param {string} msg */
function tell(msg) {
  writeSync(1, `${JSON.stringify({ msg, threadId })}\n`)
}

function hang() {
  tell('hangs')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

if (isMainThread) {
  setEnvironmentData('hanging', hanging)
  process.on('SIGUSR2', () => {
    Atomics.store(hanging, 0, 1)
    tell('will hang')
  })
  if (part === 'start' || part === 'signal') {
    const act = part === 'start' ? hang : () => process.kill(process.pid, 'SIGTERM')
    process.on('newListener', (event) => {
      // The parent of a service that would be process 1 must not hang.
      if (event === 'SIGTERM' && process.pid !== 1) setImmediate(act)
    })
  }
  if (part === 'first-run' || part === 'run') {
    const WAITS = 4
    const hangs = () => part === 'first-run' || Atomics.load(hanging, 0) === 1
    onNativeRuns({ fault: () => (hangs() ? WAITS : 0), struck: () => tell('hangs') })
  }
  if (part === 'decode') {
    const { default: sharp } = await import('sharp')
    const { toBuffer } = sharp.prototype
    sharp.prototype.toBuffer = /** @this {any} @param {any} options */ function (options) {
      if (Atomics.load(hanging, 0) === 0) return toBuffer.call(this, options)
      tell('hangs')
      // As a decode in a thread of libuv's pool does, this keeps the process.
      setInterval(() => {}, 60_000)
      return new Promise(() => {})
    }
  }
} else if (part === 'first-run' || part === 'run') {
  const { InferenceSession } = await import('onnxruntime-node')
  // The exported value is the class, but its type has the factory's methods only.
  const { prototype } = /** @type {any} */ (InferenceSession)
  const { run } = prototype
  prototype.run = /** @param {any[]} args */ function (...args) {
    if (part === 'first-run' || Atomics.load(hanging, 0) === 1) hang()
    return run.apply(this, args)
  }
}
