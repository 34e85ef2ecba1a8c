/**
 * A process of its own that makes garbage and prints to which size its young generation grew, MiB. A test's own process
 * has grown it before.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { getHeapSpaceStatistics } from 'node:v8'
import { tuneCollector } from '../src/serve/collector.js'

/** At most one collection falls into a turn: the bound acts between turns, and a second one would double once more. */
const OBJECTS_A_TURN = 2000
/** Objects live for some collections, as requests do. */
const ALIVE = 20_000
const TURNS = 1500

tuneCollector()
const alive = new Map<number, unknown>()
let largest = 0
for (let turn = 0; turn < TURNS; turn++) {
  for (let object = 0; object < OBJECTS_A_TURN; object++)
    alive.set((turn * OBJECTS_A_TURN + object) % ALIVE, { turn, object, name: `${object}` })
  const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')!
  largest = Math.max(largest, space.space_size)
  await nextTurn()
}
process.stdout.write(`${largest / 2 ** 20}\n`)
