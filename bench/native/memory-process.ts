/**
 * Runs as its own process: `memory-process.js SIDE FAMILY IMAGES` opens one side, has it run batches of so many images,
 * and prints its private memory in bytes. Sides: `plain`, or a runtime, a mode of the bank and a precision, such as
 * `native/shared/fp32`.
 */
import { setTimeout } from 'node:timers/promises'
import type { BankMode } from '../../src/engine/plan.js'
import { readFamily } from '../../src/family/folder.js'
import type { Precision } from '../../src/manifest/graphs.js'
import { privateDirtyBytes } from '../processes.js'
import { batchOf, LANES, plainSession, type Runtime, startEngine } from './engines.js'

const [side = '', dir = '', size = ''] = process.argv.slice(2)
const images = Number(size)
const family = await readFamily(dir)

async function runner(): Promise<() => Promise<unknown>> {
  if (side === 'plain') {
    const session = await plainSession(dir, family)
    return () => session(images)
  }
  const [runtime, bankMode, precision = 'fp32'] = side.split('/') as [Runtime, BankMode, Precision]
  const engine = await startEngine(family, runtime, { bankMode, precision, warmBatch: images })
  const inEachLane = (mixed: boolean) =>
    Promise.all(Array.from({ length: LANES }, () => engine.run(batchOf(family, images, mixed), 1)))
  return async () => {
    await inEachLane(false)
    await inEachLane(true)
  }
}

const run = await runner()
for (let time = 0; time < 3; time++) await run()
globalThis.gc?.()
// What was freed in other threads is given back.
await setTimeout(500)
process.stdout.write(String(privateDirtyBytes(process.pid)))
process.exit()
