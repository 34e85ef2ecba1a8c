/**
 * Runs as its own process: an engine on the native runtime, under load, in a process that ends without stopping it.
 * The argument says how: `exit` calls `process.exit()` in the middle of runs, `opening` while the graphs are opened,
 * `throws` ends by an uncaught error, and `worker` ends a worker thread that has the engine, then the process.
 */
import { isMainThread, Worker } from 'node:worker_threads'
import { pino } from 'pino'
import { systemClock } from '../src/concurrency/clock.js'
import { Engine } from '../src/engine/engine.js'
import { loadNative } from '../src/engine/runtime/native.js'
import { readFamily } from '../src/family/folder.js'

const how = process.argv[2]

if (how === 'worker' && isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { argv: ['worker'] })
  worker.once('message', () => {
    void worker.terminate().then(() => process.exit(7))
  })
} else {
  const family = await readFamily('models/resnet26-half')
  const { height, width } = family.manifest.input
  const engine = new Engine({
    family,
    rows: 2,
    bankDtype: 'f32',
    bankMode: 'shared',
    device: { kind: 'cpu' },
    lanes: 2,
    threads: 1,
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    native: loadNative(),
  })
  const started = engine.start()
  if (how === 'opening') setImmediate(() => process.exit(7))
  await started
  const images = (count: number) => ({
    pixels: new Uint8Array(count * height * width * 3),
    rows: new Int32Array(count),
  })
  const runs = Array.from({ length: 20 }, () => engine.run(images(16), 1))
  for (const run of runs) run.catch(() => {})
  // Both lanes are in later runs then.
  await Promise.race(runs)
  await end(how)
}

async function end(how: string | undefined): Promise<void> {
  if (how === 'throws') throw new Error('nobody catches this')
  if (how === 'worker') {
    const { parentPort } = await import('node:worker_threads')
    parentPort!.postMessage('running')
    return
  }
  process.exit(7)
}
