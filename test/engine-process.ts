/**
 * Runs as its own process: an engine under load, in a process that ends. `engine-process.ts HOW [native [device]]`: with
 * `device` the bank is where a GPU's would be, with the CPU in its stead. HOW is
 *
 * - `stops`: stops the engine in the middle of a run, and then ends
 * - `exit`: calls `process.exit()` in the middle of runs
 * - `opening`: the same while the graphs are opened
 * - `throws`: ends by an uncaught error
 * - `worker`: ends a worker thread that has the engine, then the process
 * - `beside`: a worker thread loads the add-on and ends; then the engine answers one more batch
 */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { pino } from 'pino'
import { systemClock } from '../src/concurrency/clock.js'
import { Engine } from '../src/engine/engine.js'
import { loadNative } from '../src/native/addon.js'
import { readFamily } from '../src/family/folder.js'

/** What a process exits with that does not stop its engine. */
const EXIT_CODE = 7

const [how, runtime, place] = process.argv.slice(2)

if (how === 'loads') loadNative()
else if (how === 'worker' && isMainThread) {
  const worker = thread('worker')
  await once(worker, 'message')
  await worker.terminate()
  process.exit(EXIT_CODE)
} else await serve()

function thread(how: string): Worker {
  return new Worker(new URL(import.meta.url), { argv: [how, ...process.argv.slice(3)] })
}

async function serve(): Promise<void> {
  const family = await readFamily('models/resnet26-half')
  const { height, width } = family.manifest.input
  const engine = new Engine({
    family,
    rows: 2,
    bankDtype: 'f32',
    bankMode: place === 'device' ? 'device' : 'shared',
    device: { kind: 'cpu' },
    lanes: 2,
    threads: 1,
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    ...(runtime === 'native' && { native: loadNative() }),
  })
  const started = engine.start()
  if (how === 'opening') setImmediate(() => process.exit(EXIT_CODE))
  await started
  const run = (images: number) =>
    engine.run({ pixels: new Uint8Array(images * height * width * 3), rows: new Int32Array(images) }, 1)
  if (how === 'stops') {
    const answer = run(32)
    // Long before it is answered.
    const stopped = engine.stop()
    process.stdout.write(`answered ${(await answer).logits.length}\n`)
    await stopped
    process.stdout.write('stopped\n')
    process.exit()
  }
  if (how === 'beside') {
    await once(thread('loads'), 'exit')
    process.stdout.write(`answered ${(await run(1)).logits.length}\n`)
    process.exit(EXIT_CODE)
  }
  const runs = Array.from({ length: 20 }, () => run(16))
  for (const run of runs) run.catch(() => {})
  // Both lanes are in later runs then.
  await Promise.race(runs)
  if (how === 'throws') throw new Error('nobody catches this')
  if (how === 'worker') parentPort!.postMessage('running')
  else process.exit(EXIT_CODE)
}
