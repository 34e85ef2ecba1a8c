/** Runs as its own process: starts an engine, sends it a batch, stops it during the run and ends. */
import { pino } from 'pino'
import { systemClock } from '../src/concurrency/clock.js'
import { Engine } from '../src/engine/engine.js'
import { readFamily } from '../src/family/folder.js'

const family = await readFamily('models/resnet26-half')
const { height, width } = family.manifest.input
const engine = new Engine({
  family,
  rows: 2,
  bankDtype: 'f32',
  bankMode: 'shared',
  device: { kind: 'cpu' },
  lanes: 1,
  threads: 1,
  logger: pino({ level: 'silent' }),
  clock: systemClock,
})
await engine.start()
const run = engine.run({ pixels: new Uint8Array(32 * height * width * 3), rows: new Int32Array(32) }, 1)
// Wait until the run has begun in the worker; it takes far longer than this message.
const stop = engine.stop()
process.stdout.write(`answered ${(await run).logits.length}\n`)
await stop
process.stdout.write('stopped\n')
process.exit()
